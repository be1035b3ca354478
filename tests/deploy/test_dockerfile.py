"""The images contain what they should, and the Dockerfile is consistent with the compose file and Kubernetes."""

import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from app import __version__
from app.settings import Settings
from scripts.common.dockerfile import Context, Stage, parse
from tests.deploy.files import ROOT

_, STAGES = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
SERVE, TRAIN = (next(stage for stage in STAGES if stage.name == name) for name in ("serve", "train"))


def rest_of(stage: Stage, name: str) -> list[str]:
    return [step.rest for step in stage.steps if step.name == name]


def test_the_service_is_the_default_target() -> None:
    assert STAGES[-1] is SERVE


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.name in {"serve", "train", "load"}])
def test_images_run_as_an_unprivileged_user(stage: Stage) -> None:
    (user,) = rest_of(stage, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "a number, so that Kubernetes can verify that it is not root"
    names = [step.name for step in stage.steps]
    assert "RUN" not in names[names.index("USER") :]


def test_commands_are_in_exec_form_so_that_signals_arrive() -> None:
    assert rest_of(SERVE, "CMD") == ['["python", "-m", "app"]']
    for stage in STAGES:
        for step in stage.steps:
            if step.name in {"CMD", "ENTRYPOINT"}:
                assert step.exec_form


def test_code_comes_after_packages_so_that_layers_are_kept() -> None:
    for stage in STAGES:
        copied = [step.rest.split()[0] for step in stage.steps if step.name == "COPY"]
        if "app" in copied:
            last_install = max(
                (place for place, step in enumerate(stage.steps) if "pip" in step.rest or step.options.get("from")),
            )
            first_code = min(
                place for place, step in enumerate(stage.steps) if step.rest.startswith(("app ", "scripts "))
            )
            assert last_install < first_code, stage.name


def test_serving_installs_only_locked_packages() -> None:
    packages = next(stage for stage in STAGES if stage.name == "packages")
    installs = [rest for rest in rest_of(packages, "RUN") if "install" in rest]
    assert len(installs) == 1
    assert "--require-hashes" in installs[0]
    assert installs[0].endswith("-r requirements.lock")


def test_the_build_context_has_all_copied_files_and_nothing_secret_or_large() -> None:
    context = Context(ROOT)
    copied = {
        name
        for stage in STAGES
        for step in stage.steps
        if step.name == "COPY" and "from" not in step.options
        for source in step.rest.split()[:-1]
        if (ROOT / source).exists()
        for name in context.files(source)
    }
    assert {"app/main.py", "models/tr-small/model_int8.onnx", "deploy/healthcheck.py", "requirements.lock"} <= copied
    for name in (
        ".env",
        ".git/config",
        ".venv/bin/python",
        "data/a.wav",
        "models/base/model.onnx",
        "runs/x",
        "deploy/x",
    ):
        assert not context.includes(name), name
    assert not [name for name in copied if "__pycache__" in name]


def test_its_label_is_the_version_of_the_service() -> None:
    assert f"VERSION={__version__}" in rest_of(SERVE, "ARG")


def test_torch_comes_from_its_index_in_the_locked_version() -> None:
    pin = '"$(grep ^torch== constraints.txt)"'
    assert pin in " ".join(rest_of(TRAIN, "RUN"))
    assert (ROOT / "Makefile").read_text(encoding="utf-8").count(pin.replace("$", "$$")) == 2
    assert len(re.findall(r"^torch==", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)) == 1


@pytest.mark.parametrize("stage", [stage for stage in STAGES if stage.name in {"train", "load"}], ids=["train", "load"])
def test_the_project_is_installed_where_its_code_is_copied(stage: Stage) -> None:
    install = f"pip install -r requirements-{stage.name}.txt"
    assert any(install in rest for rest in rest_of(stage, "RUN"))
    assert f"pyproject.toml constraints.txt requirements-{stage.name}.txt ./" in rest_of(stage, "COPY")
    assert "app app" in rest_of(stage, "COPY")


class Answering(BaseHTTPRequestHandler):
    """Answers `/readyz` with the status of its server."""

    def do_GET(self) -> None:  # the name that http.server calls
        status = getattr(self.server, "answer", 404) if self.path == "/readyz" else 404
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"status": status}).encode())

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # named by http.server
        """Do not log requests."""


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    server = HTTPServer(("127.0.0.1", 0), Answering)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def health(port: int, **environment: str) -> subprocess.CompletedProcess[str]:
    (check,) = rest_of(SERVE, "HEALTHCHECK")
    _, script = json.loads(check[check.index("[") :])
    bare = {name: value for name, value in os.environ.items() if not name.startswith("ASR_")}
    values = bare | {"ASR_PORT": str(port)} | environment
    command = [sys.executable, script]
    return subprocess.run(command, cwd=ROOT, env=values, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("host", ["", "0.0.0.0", "127.0.0.1"])  # noqa: S104  # nothing is bound
@pytest.mark.parametrize(("answer", "status"), [(200, 0), (503, 1)])
def test_a_ready_service_is_healthy(server: HTTPServer, host: str, answer: int, status: int) -> None:
    server.answer = answer  # type: ignore[attr-defined]
    result = health(server.server_port, ASR_HOST=host)
    assert result.returncode == status, result.stderr
    assert str(answer) in result.stdout


def test_a_service_that_does_not_listen_is_unhealthy(server: HTTPServer) -> None:
    port = server.server_port
    server.shutdown()
    server.server_close()
    result = health(port)
    assert result.returncode == 1
    assert "refused" in result.stdout


def test_the_defaults_of_the_check_are_those_of_the_service() -> None:
    assert Settings.model_fields["port"].default == 8000
    assert "ASR_PORT=8000" in " ".join(rest_of(SERVE, "ENV"))
    assert rest_of(SERVE, "EXPOSE") == ["8000"]
