"""What a listener asks of a live stream, and what the service allows."""

from dataclasses import dataclass

from app.recognizer import Options


@dataclass(frozen=True)
class LiveOptions:
    """What a listener asks of a stream.

    endpointing_s: pause that ends an utterance, seconds; None if only the listener does (`LiveStream.finalize`).
    partials: whether it wants them. utterance_end_s: see `UtteranceEnd`; None for none. separate: whether each channel
    is transcribed by itself; otherwise they are mixed. recognition: options of the recognizer.
    """

    endpointing_s: float | None = 0.3
    partials: bool = True
    utterance_end_s: float | None = None
    separate: bool = False
    recognition: Options = Options()


@dataclass(frozen=True)
class LiveLimits:
    """What the service allows.

    max_streams: most open streams. hop_s: least seconds from one partial of a stream to the next. share: largest share
    of the computing power that streams may reserve. max_channels: most channels of a stream.
    """

    max_streams: int = 64
    hop_s: float = 0.3
    share: float = 0.75
    max_channels: int = 8
