"""What an engine hears in a clip, long ones window by window as the service does it."""

from app.artifacts import Artifact
from app.asr import Engine
from app.decoding import Emissions, decode_ctc
from app.windows import OVERLAP_S, WINDOW_S, Samples, cut, stitch


def emissions_of(engine: Engine, artifact: Artifact, samples: Samples) -> Emissions:
    """Emissions of a clip of any length at the model's rate, shape (samples,), float32 -> (frames, vocabulary)."""
    rate_hz, framing = artifact.features.sample_rate_hz, artifact.framing
    windows = cut(samples, framing, framing.frames(int(WINDOW_S * rate_hz)), framing.frames(int(OVERLAP_S * rate_hz)))
    emissions = (engine.emissions([window.samples])[0] for window in windows)
    return stitch(windows, emissions, artifact.vocabulary.blank)


def text_of(emissions: Emissions, artifact: Artifact) -> str:
    """The words in the emissions of one clip, shape (frames, vocabulary)."""
    return " ".join(word.text for word in decode_ctc(emissions, artifact.vocabulary, artifact.frame_s))
