"""Transcribe a clip with a recognizer, window by window as in the service."""

from app.recognizer import AnyRecognizer, Options, Samples, compute_windows, decode_windows
from app.transcript import joined


def text_of(recognizer: AnyRecognizer, samples: Samples, options: Options = Options()) -> str:
    """The text of a clip of any length. samples: at the model's sample rate, shape (samples,), float32."""
    windows = recognizer.windows(samples, options)
    return joined(decode_windows(recognizer, windows, compute_windows(recognizer, windows, options), options))
