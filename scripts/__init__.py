"""What is done offline, from text and sound to an artifact; each command is a file that is run by its name."""

import app  # noqa: F401  # turns the telemetry of ONNX Runtime off, before any script imports it
