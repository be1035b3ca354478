"""Offline commands, from text and audio to an artifact. Each file in this folder is a command."""

import app  # noqa: F401  # turns telemetry off before a script imports a library that would send it
