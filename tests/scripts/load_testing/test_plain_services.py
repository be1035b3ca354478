"""Which plain service a checkpoint gets, on which model, with which options."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from app.artifacts import ArtifactError
from app.cores import available_cores
from scripts.load_testing import plain_services
from scripts.load_testing.answers import LoadError
from scripts.load_testing.plain_services import (
    PlainOptions,
    describe_plain_service,
    plain_service,
)
from tests.checkpoints import built
from tests.whisper_checkpoints import make_whisper


@pytest.fixture(scope="module")
def whisper(checkpoints: Path) -> Path:
    return make_whisper(checkpoints)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of the services, which are not started. Faster-whisper and all models seem to be there."""
    commands: list[list[str]] = []

    def service(command: Sequence[str], settings: dict[str, str]) -> None:
        commands.append(list(command[1:]))

    monkeypatch.setattr(plain_services, "ServiceProcess", service)
    monkeypatch.setattr(plain_services, "installed", lambda _: True)
    monkeypatch.setattr(plain_services, "have_baselines_made", lambda *_: {})
    return commands


def test_a_ctc_checkpoint_is_served_in_plain_int8(started: list[list[str]], checkpoints: Path, tmp_path: Path) -> None:
    checkpoint, options = built("cahya_like", checkpoints), PlainOptions(tmp_path)
    plain_service(checkpoint, options)
    (words,) = started
    assert words[:3] == ["scripts/tools/plain_service.py", "--checkpoint_dir", str(checkpoint)]
    assert Path(words[4]).name == "matmul_qint8.onnx"
    assert describe_plain_service(checkpoint, options) == "ONNX Runtime, matmul_qint8"


def test_a_model_that_cannot_be_made_is_reported(
    started: list[list[str]], checkpoints: Path, whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = dict.fromkeys(("matmul_qint8", "faster_whisper_int8"), "no space left")
    monkeypatch.setattr(plain_services, "have_baselines_made", lambda *_: failed)
    for checkpoint in (built("cahya_like", checkpoints), whisper):
        with pytest.raises(LoadError, match="the model of the plain service: no space left"):
            plain_service(checkpoint, PlainOptions(tmp_path))
    assert not started


def test_a_whisper_checkpoint_is_served_by_faster_whisper(
    started: list[list[str]], whisper: Path, tmp_path: Path
) -> None:
    plain_service(whisper, PlainOptions(tmp_path))
    (words,) = started
    assert words[:2] == ["scripts/tools/plain_whisper_service.py", "--model_dir"]
    assert Path(words[2]).parents[1] == tmp_path
    assert Path(words[2]).name == "ctranslate2_int8"
    assert words[3:] == (
        f"--port {{port}} --compute_type int8 --num_workers {available_cores()} --cpu_threads 1".split()
    ), "and it detects the language"


def test_faster_whisper_takes_the_options(started: list[list[str]], whisper: Path, tmp_path: Path) -> None:
    options = PlainOptions(tmp_path, "tr", "bfloat16", workers=3, threads=2, vad_filter=True)
    plain_service(whisper, options)
    assert started[0][5:] == (
        "--compute_type bfloat16 --num_workers 3 --cpu_threads 2 --language tr --vad_filter".split()
    )
    described = "faster-whisper, bfloat16, 3 workers of 2 threads, without silence"
    assert describe_plain_service(whisper, options) == described


def test_it_says_what_to_install(whisper: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_services, "installed", lambda _: False)
    with pytest.raises(LoadError, match=r"^not installed: faster-whisper; pip install -r requirements-peers\.txt$"):
        plain_service(whisper, PlainOptions(tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_of_no_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    with pytest.raises(ArtifactError, match="has the type 'bert'"):
        plain_service(tmp_path, PlainOptions(tmp_path))
