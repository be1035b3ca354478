"""Dikte: a speech-to-text service for wav2vec2-CTC and Whisper models on ordinary CPUs."""

import os
import sys

__version__ = "0.1.0"

# From 1.29 on, ONNX Runtime sends telemetry unless this is set before the import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO and NNCF send telemetry with this package. None makes Python refuse to import it.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # a module, say the stubs
