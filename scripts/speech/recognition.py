"""Transcribe a clip with a recognizer, window by window as in the service."""

from app.recognizer import AnyRecognizer, Samples, compute_clip, decode_clip


def text_of(recognizer: AnyRecognizer, samples: Samples) -> str:
    """The text of a clip of any length. samples: at the model's sample rate, shape (samples,), float32."""
    segments = decode_clip(recognizer, samples, compute_clip(recognizer, samples))
    return " ".join(segment.text for segment in segments)
