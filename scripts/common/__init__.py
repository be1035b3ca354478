"""Helpers of several scripts that have nothing to do with speech."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""Root folder of the repository."""
SAMPLES = ROOT / "samples"
"""Short clips, with their reference texts in `manifest.jsonl`."""
MIB = 1 << 20
