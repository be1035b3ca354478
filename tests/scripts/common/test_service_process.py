import sys

import pytest

from app.settings import BUNDLED_MODEL
from scripts.common.service_process import ServiceError, ServiceProcess, dikte, dikte_on, transcribe
from tests.deploy.files import ROOT


def test_it_is_ready_and_answers_until_it_is_terminated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASR_API_KEYS", "secret")  # for a service that the user runs
    with dikte_on("onnx_int8", BUNDLED_MODEL, {"ASR_WORKERS": "1"}) as service:
        answer = transcribe(service.url, ROOT / "samples" / "short.wav")
        assert (answer["text"], answer["backend"]) == ("evet doğru", "onnx_int8")
        assert 0 < service.resident_bytes <= service.peak_bytes
        assert service.threads > 0
        assert service.sockets > 0
        assert service.temporary_files == 0
        service.terminate()
        assert service.exit_code() == 0


def test_a_model_that_will_never_be_ready_raises_with_the_reason() -> None:
    missing = {"ASR_BACKEND": "onnx_int8", "ASR_MODEL_DIR": "nothing"}
    with pytest.raises(ServiceError, match="not ready: there is no model folder nothing"), dikte(missing):
        pass


def test_a_service_that_exits_at_once_raises_with_its_log() -> None:
    broken = ServiceProcess([sys.executable, "-c", "raise SystemExit('no such thing')"], {})
    with pytest.raises(ServiceError, match="did not start:\nno such thing"), broken:
        pass


def test_a_service_that_does_not_exit_after_sigterm_raises() -> None:
    with dikte_on("onnx_int8", BUNDLED_MODEL) as service, pytest.raises(ServiceError, match="did not exit within 0 s"):
        service.exit_code(0)
