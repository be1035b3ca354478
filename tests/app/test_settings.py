from pathlib import Path

import pytest
from pydantic import ValidationError

from app.cores import available_cores
from app.environment import is_service_link
from app.keywords import Keyword
from app.settings import BUNDLED_MODEL, Settings


def test_defaults_serve_the_bundled_model_on_the_fastest_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ASR_{name.upper()}", raising=False)
    settings = Settings()
    assert (settings.backend, settings.model_dir) == ("auto", str(BUNDLED_MODEL))
    assert (settings.workers, settings.threads) == (available_cores(), min(available_cores(), 8))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_BACKEND", "onnx")
    monkeypatch.setenv("ASR_MAX_DURATION_S", "12.5")
    settings = Settings()
    assert settings.backend == "onnx"
    assert settings.audio_limits.max_duration_s == 12.5


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BACKEND", "tensorflow"),
        ("WORKERS", "0"),
        ("WORKERS", "many"),
        ("MAX_DURATION_S", "-1"),
        ("OVERLAP_S", "11"),
        ("MAX_DURATION_S", "inf"),
        ("DEADLINE_S", "nan"),
    ],
)
def test_values_that_make_no_sense_stop_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ASR_{name}", value)
    with pytest.raises(ValidationError, match=name if name == "OVERLAP_S" else name.lower()):
        Settings()


@pytest.mark.parametrize("name", Settings.model_fields)
def test_an_empty_setting_is_not_set(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(f"ASR_{name.upper()}", raising=False)
    default = getattr(Settings(), name)
    monkeypatch.setenv(f"ASR_{name.upper()}", "")
    assert getattr(Settings(), name) == default


@pytest.mark.parametrize(
    ("name", "value", "means"),
    [
        ("LOG_LEVEL", "INFO", "info"),
        ("LOG_LEVEL", " Warning ", "warning"),
        ("LOG_FORMAT", "JSON", "json"),
        ("BACKEND", "ONNX", "onnx"),
        ("ALLOW_UNPROVEN", "TRUE", True),
        ("WORKERS", " 3 ", 3),
    ],
)
def test_names_in_any_case(monkeypatch: pytest.MonkeyPatch, name: str, value: str, means: object) -> None:
    monkeypatch.setenv(f"ASR_{name}", value)
    assert getattr(Settings(), name.lower()) == means


SERVICE_LINKS = {
    "ASR_PORT": "tcp://10.0.0.1:8000",
    "ASR_PORT_8000_TCP": "tcp://10.0.0.1:8000",
    "ASR_PORT_8000_TCP_ADDR": "10.0.0.1",
    "ASR_PORT_8000_TCP_PORT": "8000",
    "ASR_PORT_8000_TCP_PROTO": "tcp",
    "ASR_SERVICE_HOST": "10.0.0.1",
    "ASR_SERVICE_PORT": "8000",
    "ASR_SERVICE_PORT_HTTP": "8000",
}
"""What Kubernetes puts into every container of a namespace that has a Service called `asr`."""


def test_service_links_of_kubernetes_are_no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ASR_{name.upper()}", raising=False)
    default = Settings()
    for name, value in SERVICE_LINKS.items():
        monkeypatch.setenv(name, value)
    assert Settings() == default


@pytest.mark.parametrize("port", ["tcp://10.0.0.1:8000", "udp://[fd00::1]:53", "sctp://10.0.0.1:1"])
def test_service_links_are_known(port: str) -> None:
    assert is_service_link(port)


@pytest.mark.parametrize("port", ["http://10.0.0.1:8000", "tcp://", "tcp://host", "tcp:8000", "8000x", "-1", "65536"])
def test_other_ports_that_are_none_stop_the_start(monkeypatch: pytest.MonkeyPatch, port: str) -> None:
    assert not is_service_link(port)
    monkeypatch.setenv("ASR_PORT", port)
    with pytest.raises(ValidationError, match="port"):
        Settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())


@pytest.mark.parametrize(
    ("value", "keys"), [("", ()), ("alpha", ("alpha",)), ("alpha, be%ta ,c=", ("alpha", "be%ta", "c="))]
)
def test_keys_are_read_and_never_shown(monkeypatch: pytest.MonkeyPatch, value: str, keys: tuple[str, ...]) -> None:
    monkeypatch.setenv("ASR_API_KEYS", value)
    settings = Settings()
    assert settings.keys == keys
    assert "alpha" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"


@pytest.mark.parametrize("value", [" ", ",", "alpha,", "alpha,,beta", "al pha", "alphağ", "al\npha"])
def test_keys_that_nobody_can_send_stop_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ASR_API_KEYS", value)
    with pytest.raises(ValidationError, match="a key is blank, or has characters") as refused:
        Settings()
    assert "alpha" not in str(refused.value)


def test_another_settings_fault_does_not_show_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_API_KEYS", "alpha")
    monkeypatch.setenv("ASR_OVERLAP_S", "11")
    with pytest.raises(ValidationError) as refused:
        Settings()
    assert "alpha" not in str(refused.value)


@pytest.mark.parametrize(
    ("value", "origins"),
    [("", ()), ("*", ("*",)), ("https://a.org, http://[::1]:3000", ("https://a.org", "http://[::1]:3000"))],
)
def test_origins(monkeypatch: pytest.MonkeyPatch, value: str, origins: tuple[str, ...]) -> None:
    monkeypatch.setenv("ASR_CORS_ORIGINS", value)
    assert Settings().origins == origins


@pytest.mark.parametrize(
    "value", ["https://a.org/", "a.org", "https://a.org/page", "https://*.a.org", "https://a.org,"]
)
def test_what_is_no_origin_stops_the_start(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("ASR_CORS_ORIGINS", value)
    with pytest.raises(ValidationError, match="is not an origin"):
        Settings()


def test_keywords_of_a_setting_and_of_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("\ufeff# our names\nKadıköy\n  # and others\n\nAyşe Tütüncü, Nil:2\n", encoding="utf-8")
    monkeypatch.setenv("ASR_KEYWORDS", "Nil:3, WhatsApp=vatsap")
    monkeypatch.setenv("ASR_KEYWORDS_FILE", str(file))
    monkeypatch.setenv("ASR_KEYWORDS_BOOST", "0.7")
    options = Settings().options
    assert options.keywords == (
        Keyword("Kadıköy"), Keyword("Ayşe Tütüncü"), Keyword("Nil", 3.0), Keyword("WhatsApp", 1.0, "vatsap")
    )  # fmt: skip
    assert options.keywords_boost == 0.7


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("KEYWORDS", "Kadıköy:9", "ASR_KEYWORDS: the boost of 'Kadıköy:9'"),
        ("KEYWORDS", "Kadıköy, ...", "ASR_KEYWORDS: the keyword '...' has no letters"),
        ("KEYWORDS_FILE", "/nowhere/names.txt", "ASR_KEYWORDS_FILE cannot be read"),
        ("KEYWORDS_FILE", "{bytes}", "ASR_KEYWORDS_FILE cannot be read"),
        ("KEYWORDS_BOOST", "0", "keywords_boost"),
        ("KEYWORDS_BOOST", "6", "keywords_boost"),
    ],
)
def test_what_are_no_keywords_stops_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, message: str
) -> None:
    (tmp_path / "bytes").write_bytes(b"Kad\xffk")
    monkeypatch.setenv(f"ASR_{name}", value.format(bytes=tmp_path / "bytes"))
    with pytest.raises(ValidationError, match=message):
        Settings()
