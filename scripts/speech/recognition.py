"""What a recognizer hears in a clip, long ones window by window as the service does it."""

from app.recognizer import AnyRecognizer, Samples, compute_clip, decode_clip


def text_of(recognizer: AnyRecognizer, samples: Samples) -> str:
    """The text of a clip of any length at the model's rate, shape (samples,), float32."""
    segments = decode_clip(recognizer, samples, compute_clip(recognizer, samples))
    return " ".join(segment.text for segment in segments)
