"""Rows of speech data in memory, for the tests of training."""

import io

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
