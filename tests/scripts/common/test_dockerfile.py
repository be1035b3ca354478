"""The Dockerfile parser supports the syntax of this repository, and refuses any other."""

from pathlib import Path

import pytest

from scripts.common.dockerfile import Context, DockerfileError, Step, expand, pairs, parse

EXAMPLE = """
# a comment
ARG IMAGE=debian:12
FROM ${IMAGE} AS base
ENV A=1 \\
    B="two words"

FROM base AS run
RUN --mount=type=cache,target=/cache one \\
# in the midst
    && two
COPY --from=base /a /b
CMD ["python", "-m", "app"]
"""


def test_stages_with_their_steps() -> None:
    arguments, (base, run) = parse(EXAMPLE)
    assert arguments == {"IMAGE": "debian:12"}
    assert (base.parent, base.name) == ("debian:12", "base")
    assert pairs(base.steps[0].rest) == {"A": "1", "B": "two words"}
    assert (run.parent, run.name) == ("base", "run")
    install, copy, command = run.steps
    assert install.options == {"mount": "type=cache,target=/cache"}
    assert install.rest.split() == ["one", "&&", "two"]
    assert copy == Step("COPY", {"from": "base"}, "/a /b")
    assert command.exec_form == ["python", "-m", "app"]


@pytest.mark.parametrize("text", ["FROM a\nVOLUME /x", "RUN x\nFROM a", "FROM ${UNKNOWN}"])
def test_unsupported_syntax_is_refused(text: str) -> None:
    with pytest.raises(DockerfileError):
        parse(text)


def test_a_shell_command_is_no_exec_form() -> None:
    with pytest.raises(DockerfileError):
        _ = Step("CMD", {}, "python -m app").exec_form


def test_variables() -> None:
    assert expand("/opt/bin:${PATH}", {"PATH": "/bin"}) == "/opt/bin:/bin"
    assert expand("$(id)", {}) == "$(id)"


@pytest.fixture
def context(tmp_path: Path) -> Context:
    (tmp_path / ".dockerignore").write_text("# all but\n*\n!app\n!models\nmodels/*\n!models/small\n**/__pycache__\n")
    for name in ("app/main.py", "app/__pycache__/main.pyc", "models/small/a.onnx", "models/big/a.onnx", "secret"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return Context(tmp_path)


def test_the_last_rule_that_fits_decides(context: Context) -> None:
    assert context.files("app") == ["app/main.py"]
    assert context.files("models") == ["models/small/a.onnx"]


@pytest.mark.parametrize("source", ["secret", "models/big", "nothing"])
def test_excluded_files_cannot_be_copied(context: Context, source: str) -> None:
    with pytest.raises(DockerfileError):
        context.files(source)
