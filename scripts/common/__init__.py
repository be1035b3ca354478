"""What several scripts need that has nothing to do with speech."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
"""The top of the repository."""
SAMPLES = ROOT / "samples"
"""Short clips, with what is said in them in `manifest.jsonl`."""
MIB = 1 << 20
