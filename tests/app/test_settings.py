import pytest
from pydantic import ValidationError

from app.cores import available_cores
from app.settings import BUNDLED_MODEL, Settings


def test_defaults_serve_the_bundled_model_on_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"ASR_{name.upper()}", raising=False)
    settings = Settings()
    assert (settings.backend, settings.model_dir) == ("onnx_int8", str(BUNDLED_MODEL))
    assert (settings.workers, settings.threads) == (available_cores(), min(available_cores(), 8))


def test_settings_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_BACKEND", "onnx")
    monkeypatch.setenv("ASR_MAX_DURATION_S", "12.5")
    settings = Settings()
    assert settings.backend == "onnx"
    assert settings.audio_limits.max_duration_s == 12.5


@pytest.mark.parametrize(
    ("name", "value"),
    [("BACKEND", "tensorflow"), ("WORKERS", "0"), ("WORKERS", "many"), ("MAX_DURATION_S", "-1"), ("OVERLAP_S", "11")],
)
def test_values_that_make_no_sense_stop_the_start(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"ASR_{name}", value)
    with pytest.raises(ValidationError, match=name if name == "OVERLAP_S" else name.lower()):
        Settings()


def test_every_setting_is_described() -> None:
    assert all(field.description for field in Settings.model_fields.values())
