"""What is done offline, from text and sound to an artifact; each command is a file that is run by its name."""

import app  # noqa: F401  # turns telemetry off, before any script imports what would report
