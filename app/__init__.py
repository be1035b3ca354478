"""Dikte: a speech-to-text service for wav2vec2-CTC models on ordinary CPUs."""

import os
import sys

__version__ = "0.1.0"

# From 1.29 on, ONNX Runtime reports to its maker what it runs, unless told not to before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# OpenVINO and NNCF report that they are imported, and what they do; without this package of theirs they do not.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # as Python marks what cannot be imported
