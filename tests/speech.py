"""Rows of speech data in memory, for the tests of training."""

import io
import json
from collections.abc import Sequence
from pathlib import Path

import soundfile
from datasets import Dataset
from transformers import Wav2Vec2FeatureExtractor

from scripts.speech.data import SpeechRows
from scripts.speech.text import TURKISH_ALPHABET, TextNormalizer
from tests.checkpoints import RATE_HZ, babbling

FEATURES = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
NORMALIZER = TextNormalizer(TURKISH_ALPHABET)


def wav(seed: int, duration_s: float) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, babbling(duration_s, seed), RATE_HZ, format="WAV")
    return buffer.getvalue()


def speech_rows(texts: list[str | None], durations_s: list[float] | None = None) -> SpeechRows:
    durations_s = durations_s or [0.5 + 0.1 * (index % 3) for index in range(len(texts))]
    cells = [{"path": f"{index}.wav", "bytes": wav(index, duration)} for index, duration in enumerate(durations_s)]
    return SpeechRows(Dataset.from_dict({"audio": cells, "text": texts}), "audio", "text", durations_s)


def write_clips(folder: Path, texts: Sequence[str | None]) -> Path:
    """The manifest of clips of 0.6 s, 0.8 s and so on; without a text where it is None."""
    lines = []
    for index, text in enumerate(texts):
        duration_s = 0.6 + 0.2 * index
        (folder / f"{index}.wav").write_bytes(wav(index, duration_s))
        lines.append(json.dumps({"audio": f"{index}.wav", "text": text, "duration": duration_s}))
    (folder / "manifest.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder / "manifest.jsonl"
