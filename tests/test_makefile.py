"""What make would do, and what it does in a folder with a space in its name."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOREIGN = (
    *("BASE", "CHECKPOINT", "EVAL", "FROM", "HOST", "NAME", "OPTIONS", "PORT", "PYTHON", "SECONDS", "TORCH_INDEX"),
)
"""Names that others give to variables of the environment: NAME is WSL's, HOST conda's, PORT many a host's."""


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--dry-run", "--no-print-directory", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def export_of(*arguments: str) -> list[str]:
    """The words of the command that exports."""
    result = make("model", *arguments)
    assert result.returncode == 0, result.stderr
    (line,) = [line for line in result.stdout.replace("\\\n", " ").splitlines() if "scripts/export.py" in line]
    return shlex.split(line)[2:]


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (
            ["CHECKPOINT=cahya/wav2vec2-base-turkish"],
            "--checkpoint_dir cahya/wav2vec2-base-turkish --onnx_dir models/wav2vec2-base-turkish",
        ),
        (
            ["CHECKPOINT=runs/tuned/", "EVAL=data/test.jsonl", "OPTIONS=--fp16"],
            "--checkpoint_dir runs/tuned/ --onnx_dir models/tuned --eval_manifest data/test.jsonl --fp16",
        ),
        (["CHECKPOINT=runs/tuned", "NAME=mine"], "--checkpoint_dir runs/tuned --onnx_dir models/mine"),
        (["CHECKPOINT=models/tr-small"], "--checkpoint_dir models/tr-small --onnx_dir models/tr-small-onnx"),
        (["CHECKPOINT=./models/mine/"], "--checkpoint_dir ./models/mine/ --onnx_dir models/mine-onnx"),
        ([f"CHECKPOINT={ROOT}/models/mine"], f"--checkpoint_dir {ROOT}/models/mine --onnx_dir models/mine-onnx"),
    ],
)
def test_a_checkpoint_is_exported_below_models(arguments: list[str], options: str) -> None:
    assert export_of(*arguments) == options.split()


@pytest.mark.parametrize(
    ("arguments", "options"),
    [
        (
            ["CHECKPOINT=my models/x", "EVAL=a b.jsonl"],
            ["--checkpoint_dir", "my models/x", "--onnx_dir", "models/x", "--eval_manifest", "a b.jsonl"],
        ),
        (["CHECKPOINT=runs/my  x/"], ["--checkpoint_dir", "runs/my  x/", "--onnx_dir", "models/my  x"]),
        (["CHECKPOINT=models/my x/"], ["--checkpoint_dir", "models/my x/", "--onnx_dir", "models/my x-onnx"]),
        (["CHECKPOINT=x", "NAME=my own"], ["--checkpoint_dir", "x", "--onnx_dir", "models/my own"]),
        (["CHECKPOINT=it's; (x) &"], ["--checkpoint_dir", "it's; (x) &", "--onnx_dir", "models/it's; (x) &"]),
    ],
)
def test_paths_may_have_spaces(arguments: list[str], options: list[str]) -> None:
    assert export_of(*arguments) == options


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout in a folder with a space, whose programs print what they are called with."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    for file in [*ROOT.glob("requirements*.txt"), ROOT / "pyproject.toml", ROOT / "constraints.txt"]:
        (folder / file.name).touch()
    (folder / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    for environment in (".venv", ".venv-dev"):
        programs = folder / environment / "bin"
        programs.mkdir(parents=True)
        for name in ("python", "ruff", "mypy"):
            program = programs / name
            program.write_text(f"#!{sys.executable}\nimport json, sys\nprint('called', json.dumps(sys.argv[1:]))\n")
            program.chmod(0o755)
        (folder / environment / "installed").touch()
    return folder


PYTEST = ["-m", "pytest", "-n", "auto", "--dist", "worksteal"]
EVAL_OPTION = ["--eval_manifest", "a b.jsonl"]


@pytest.mark.parametrize(
    ("arguments", "last_call"),
    [
        (["serve"], ["-m", "app"]),
        (["test"], [*PYTEST, "-m", "not slow and not real", "--cov"]),
        (["test-all"], [*PYTEST, "-m", "not real", "--cov"]),
        (["load", "OPTIONS=--users 3"], ["scripts/load.py", "--users", "3"]),
        (
            ["model", "CHECKPOINT=my models/it's x", "EVAL=a b.jsonl"],
            ["scripts/export.py", "--checkpoint_dir", "my models/it's x", "--onnx_dir", "models/it's x", *EVAL_OPTION],
        ),
    ],
    ids=lambda value: value[0],
)
def test_it_works_in_a_folder_with_a_space(checkout: Path, arguments: list[str], last_call: list[str]) -> None:
    command = ["make", "--no-print-directory", *arguments]
    result = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    calls = [line.removeprefix("called ") for line in result.stdout.splitlines() if line.startswith("called ")]
    assert json.loads(calls[-1]) == last_call


def test_variables_of_others_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    commands = [("serve",), ("load",), ("fuzz",), ("model", "CHECKPOINT=runs/tuned")]
    for name in ("ASR_HOST", "ASR_PORT", *FOREIGN):
        monkeypatch.delenv(name, raising=False)
    alone = [make(*command).stdout for command in commands]
    for name in FOREIGN:
        monkeypatch.setenv(name, "foreign")
    assert [make(*command).stdout for command in commands] == alone
    assert make("model").returncode != 0, "the checkpoint too comes from the command line alone"


@pytest.mark.parametrize(
    ("goal", "environment", "requirements"),
    [
        ("serve", ".venv", "requirements.txt"),
        ("lint", ".venv-dev", "requirements-test.txt"),
        ("load", ".venv-load", "requirements-load.txt"),
        ("model", ".venv-train", "requirements-train.txt"),
    ],
)
def test_each_goal_installs_its_own_requirements(
    checkout: Path, goal: str, environment: str, requirements: str
) -> None:
    for installed in checkout.glob(".venv*/installed"):
        installed.unlink()
    command = ["make", "--dry-run", "--no-print-directory", goal, "CHECKPOINT=x", "TORCH_INDEX=https://example.org"]
    lines = subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=True).stdout.splitlines()
    installs = [line for line in lines if "pip" in line and "install" in line]
    assert installs[-1].startswith(f"{environment}/bin/python -m pip")
    assert installs[-1].endswith(f"-r {requirements}")
    (torch,) = installs[:-1] or [""]
    assert ("--index-url https://example.org" in torch) == (goal in {"lint", "model"})


def test_modules_are_compiled_when_they_are_imported(checkout: Path) -> None:
    """pip leaves it to Python, so nobody may tell Python not to."""
    with (checkout / "Makefile").open("a") as makefile:
        makefile.write("show:\n\t@echo set to [$$PYTHONDONTWRITEBYTECODE]\n")
    shown = subprocess.run(
        ["make", "--no-print-directory", "show"],
        cwd=checkout,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "set to []\n"


def test_without_a_checkpoint_it_says_what_is_missing() -> None:
    result = make("model")
    assert result.returncode != 0
    assert "make model CHECKPOINT=" in result.stderr
    assert make("serve").returncode == 0, "only a model needs one"


def test_the_load_test_takes_more_options() -> None:
    result = make("load", "OPTIONS=--capacity --p95_limit_s 2")
    assert result.returncode == 0, result.stderr
    assert "python scripts/load.py --capacity --p95_limit_s 2" in result.stdout


def test_tests_run_on_all_cores() -> None:
    assert "-m pytest -n auto --dist worksteal" in make("test").stdout


@pytest.mark.parametrize(
    ("arguments", "command"),
    [([], "--seconds 3600"), (["SECONDS=60", "OPTIONS=--first 7"], "--seconds 60 --first 7")],
)
def test_the_fuzzer_runs_as_long_as_it_is_told(arguments: list[str], command: str) -> None:
    assert f"python -m tests.fuzz {command}" in make("fuzz", *arguments).stdout


@pytest.mark.parametrize(
    ("arguments", "settings", "address"),
    [
        ([], {}, "ASR_HOST=0.0.0.0 ASR_PORT=8000"),
        (["PORT=8001"], {}, "ASR_HOST=0.0.0.0 ASR_PORT=8001"),
        (
            [],
            {"ASR_PORT": "8002", "ASR_HOST": "127.0.0.1", "HOST": "x86_64-conda-linux-gnu"},
            "ASR_HOST=127.0.0.1 ASR_PORT=8002",
        ),
        (["PORT=8001"], {"ASR_PORT": "8002"}, "ASR_HOST=0.0.0.0 ASR_PORT=8001"),
        ([], {"ASR_PORT": "", "ASR_HOST": ""}, "ASR_HOST=0.0.0.0 ASR_PORT=8000"),
        ([], {"ASR_PORT": "tcp://10.0.0.1:8000"}, "ASR_HOST=0.0.0.0 ASR_PORT=8000"),
    ],
    ids=str,
)
def test_serve_listens_where_it_is_told(
    arguments: list[str], settings: dict[str, str], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HOST", "PORT", "ASR_HOST", "ASR_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    printed = make("serve", *arguments).stdout
    assert f"{address} exec" in printed
    assert f"http://localhost:{address.rpartition('=')[2]}/transcribe" in printed
