"""The load test from end to end on the bundled model, for a few seconds, and its comparisons of figures."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from scripts.common import ROOT, SAMPLES
from scripts.common.service_process import ServiceProcess, dikte_on
from scripts.load import PLAIN, compare_with_plain, load_against_plain, own_service, parse_arguments
from scripts.load_testing.answers import API_KEY_VARIABLE, LoadError, References
from scripts.load_testing.load_figures import LoadFigures
from scripts.load_testing.plain_services import PlainOptions
from scripts.load_testing.users import Load, measure, run_locust
from tests.scripts.load_testing.deployed import KEY, deployed
from tests.whisper_checkpoints import make_whisper

LOAD = Load(users=2, spawn_rate=10, duration_s=8.0, clips_s="2,3", long_users=1, long_s=5.0, formats="wav,opus")


@pytest.fixture(scope="module")
def service() -> Iterator[ServiceProcess]:
    with dikte_on("onnx_int8", "models/tr-small") as service:
        yield service


@pytest.fixture(scope="module")
def references(service: ServiceProcess) -> References:
    return References.ask(service.url, LOAD.clips)


def test_the_bundled_model_recognizes_the_samples(references: References) -> None:
    assert references.model == "tr-small"
    assert references.texts["short"] == references.texts["short-opus"] == "evet doğru"
    assert set(references.texts) == {clip.name for clip in LOAD.clips}


def test_users_upload_and_check_the_texts(service: ServiceProcess, references: References) -> None:
    measured = measure(service.url, LOAD, references)
    assert measured.failures == 0
    assert set(measured.by_kind) == {"all", "short", "long"}
    assert measured.by_kind["short"].answered > 0
    assert measured.by_kind["long"].audio_s_per_s > 0
    assert set(measured.by_format) == {"wav", "opus"}
    assert all(figures.answered and figures.decode_s > 0 for figures in measured.by_format.values())
    assert sum(figures.answered for figures in measured.by_format.values()) == measured.all.answered
    wav, opus = measured.by_format["wav"], measured.by_format["opus"]
    assert opus.sent_bytes / opus.audio_s_per_s < 0.5 * wav.sent_bytes / wav.audio_s_per_s
    assert measured.all.answered == sum(measured.by_kind[kind].answered for kind in ("short", "long"))


@pytest.mark.slow  # the time of a load test, for another source of clips
def test_users_upload_the_clips_of_a_data_set(service: ServiceProcess) -> None:
    load = replace(LOAD, long_users=0, speech=str(SAMPLES / "manifest.jsonl"))
    references = References.ask(service.url, load.clips)
    assert set(references.texts) == {"row-3", "row-0", "row-3-opus", "row-0-opus"}
    measured = measure(service.url, load, references)
    assert measured.failures == 0
    assert measured.all.answered > 0
    assert load.described()["clips"] == f"2 whole ones of {load.speech}, nearest to 2,3 s long, 4.21 s on average"


def test_a_wrong_text_is_a_failure(service: ServiceProcess, references: References) -> None:
    wrong = References(references.model, dict.fromkeys(references.texts, "güle güle"))
    tally = run_locust(service.url, replace(LOAD, duration_s=1.0), wrong)
    assert {answer.outcome for answer in tally.answers} == {"wrong_text"}


def test_workers_report_to_a_master(service: ServiceProcess, tmp_path: Path) -> None:
    options = ["--host", service.url, "--headless", "--processes", "2", "-u", "4", "-r", "4", "-t", "4s"]
    options += ["--stop-timeout", "20", "--clips_s", "2", "--long_users", "0", "--tally", str(tmp_path / "tally.json")]
    options += ["--formats", "wav,mp3", "--pause_s", "0.3"]
    command = [sys.executable, "-m", "locust", "-f", "locust/locustfile.py", *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert json.loads((tmp_path / "tally.json").read_text(encoding="utf-8"))["answers"]
    assert re.search(r"s of audio per second, [\d.]+ requests/s, 0 refused, 0 failed", ended.stdout)
    assert re.search(r"mp3: \d+ answered, [\d.]+ MB sent, p50 \d+ ms, p95 \d+ ms, decoded in", ended.stdout)


def test_an_unreachable_service_is_reported(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/load.py", "--host", "http://127.0.0.1:9", "--out", str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "load test failed: http://127.0.0.1:9 cannot be reached" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_command_writes_a_report_of_a_running_service(service: ServiceProcess, tmp_path: Path) -> None:
    options = "--users 1 --spawn_rate 10 --duration_s 5 --clips_s 2,3 --long_users 0".split()
    command = [sys.executable, "scripts/load.py", "--host", service.url, "--out", str(tmp_path), *options]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report = (tmp_path / "load_report.md").read_text(encoding="utf-8")
    for part in (
        "| m4a |",
        "decode ms",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "RPS",
        "RTFx",
        "refused",
        "tr-small on onnx_int8",
    ):
        assert part in report
    figures = json.loads((tmp_path / "load_report.json").read_text(encoding="utf-8"))
    assert figures["failures"] == 0
    assert figures["clients"]["all"]["answered"] > 0
    assert figures["machine"]["cores"] >= 1


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost, valid for a day, with its key."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    path = tmp_path_factory.mktemp("tls") / "localhost.pem"
    options = "-x509 -newkey rsa:2048 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    command = ["openssl", "req", *options.split(), "-keyout", str(path), "-out", str(path.with_suffix(".crt"))]
    subprocess.run(command, capture_output=True, check=True)
    path.write_bytes(path.read_bytes() + path.with_suffix(".crt").read_bytes())
    return path


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_deployed_service_is_loaded_with_a_key_that_nobody_sees(
    scheme: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    certificate = request.getfixturevalue("certificate") if scheme == "https" else None
    environment = os.environ | {API_KEY_VARIABLE: KEY, "ASR_BACKEND": "onnx", "ASR_MODEL_DIR": "models/tr-small"}
    environment |= {"SSL_CERT_FILE": str(certificate)} if certificate else {}
    options = "--users 1 --spawn_rate 10 --duration_s 4 --clips_s 2 --long_users 0".split()
    with deployed(certificate) as url:
        command = [sys.executable, "scripts/load.py", "--host", f"{url}/", "--out", str(tmp_path), *options]
        ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    report, figures = ((tmp_path / f"load_report.{end}").read_text(encoding="utf-8") for end in ("md", "json"))
    assert "far-away on openvino" in report
    assert json.loads(figures)["failures"] == 0
    assert json.loads(figures)["clients"]["all"]["answered"] > 0
    assert KEY not in report + figures + ended.stdout + ended.stderr


def test_it_needs_no_more_than_its_requirements() -> None:
    code = "import sys, scripts.load, scripts.tools.load_scenarios; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "jiwer", "matplotlib", "librosa", "httpx", "locust"} & set(loaded.split())


def figures_of(rps: float, p95_s: float, failed: int = 0) -> LoadFigures:
    failures = {"wrong_text": failed} if failed else {}
    return LoadFigures(60.0, 100, rps, 7 * rps, p95_s / 2, p95_s, p95_s, 0, float("nan"), failures, 0.0, 0.1)


def test_ratios_to_the_plain_service_are_those_within_rounds() -> None:
    rounds = {
        "onnx_int8": [figures_of(6.0, 2.0), figures_of(2.0, 6.0), figures_of(9.0, 1.0)],
        "openvino": [figures_of(12.0, 1.0)] * 3,
        PLAIN: [figures_of(3.0, 8.0), figures_of(1.0, 12.0), figures_of(3.0, 4.0)],
    }
    assert {figure.key: figure.value for figure in compare_with_plain(rounds)} == {
        "onnx_int8_failures": 0,
        "onnx_int8_rps_to_plain": 2.0,
        "onnx_int8_p95_to_plain": 0.25,
        "openvino_failures": 0,
        "openvino_rps_to_plain": 4.0,
        "openvino_p95_to_plain": 0.125,
    }


def test_options_are_checked(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--against_plain", "--host", "http://localhost:8000"])
    with pytest.raises(SystemExit):
        parse_arguments(["--against_plain", "--capacity"])
    assert "starts its own services" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        parse_arguments(["--language", "tr", "--host", "http://localhost:8000"])
    assert "a running one has ASR_LANGUAGE" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "settings"), [([], {}), (["--language", "tr"], {"ASR_LANGUAGE": "tr"})])
def test_our_service_is_told_the_language(
    words: list[str], settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[tuple[str, str, dict[str, str]]] = []
    monkeypatch.setattr("scripts.load.dikte_on", lambda *values: given.append(values))
    own_service("onnx", parse_arguments([*words, "--model_dir", "some"]))
    assert given == [("onnx", "some", settings)]


def test_a_data_set_is_found_from_the_folder_of_locust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "speech.jsonl").touch()
    assert parse_arguments(["--speech", "speech.jsonl"]).speech == str(tmp_path / "speech.jsonl")
    assert parse_arguments(["--speech", "some/hub_id"]).speech == "some/hub_id"
    assert parse_arguments([]).speech == ""


def test_the_plain_service_gets_the_folder_of_the_checkpoint_and_its_options(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "snapshot").mkdir()
    monkeypatch.chdir(tmp_path)  # a relative path, in another folder than that of the services
    monkeypatch.setattr("scripts.load.find_model_folder", lambda name, _: {"cahya/base": Path("snapshot")}[name])
    given: list[tuple[Path, PlainOptions]] = []

    def plain_service(checkpoint: Path, options: PlainOptions) -> ServiceProcess:
        given.append((checkpoint, options))
        raise LoadError("far enough")

    monkeypatch.setattr("scripts.load.plain_service", plain_service)
    words = "--language tr --plain_compute_type float32 --plain_workers 3 --plain_threads 2 --plain_vad".split()
    arguments = parse_arguments(["--against_plain", "--checkpoint_dir", "cahya/base", *words])
    arguments.backends = []
    with pytest.raises(LoadError, match="far enough"):
        load_against_plain(arguments, LOAD)
    options = PlainOptions(tmp_path / "artifacts" / "baselines", "tr", "float32", 3, 2, vad_filter=True)
    assert given == [(tmp_path / "snapshot", options)]


def test_a_whisper_checkpoint_needs_faster_whisper(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scripts.load_testing.plain_services.installed", lambda _: False)
    words = ["--against_plain", "--checkpoint_dir", str(make_whisper(checkpoints)), "--out", str(tmp_path)]
    arguments = parse_arguments(words)
    arguments.backends = []
    with pytest.raises(LoadError, match="not installed: faster-whisper"):
        load_against_plain(arguments, LOAD)


def test_a_missing_checkpoint_is_reported_in_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/load.py", "--against_plain", "--checkpoint_dir", "no/such/checkpoint"]
    ended = subprocess.run([*command, "--out", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "load test failed: no/such/checkpoint is neither a folder nor a checkpoint" in ended.stderr
    assert "Traceback" not in ended.stderr
