"""The Prometheus metrics of the service."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, disable_created_metrics
from prometheus_client.exposition import choose_encoder

from app import __version__
from app.cpu import this_cpu
from app.errors import AsrError
from app.transcript import Timings

OK = "ok"
CLIENT_GONE = "client_gone"
OTHER = "other"
"""Outcomes of a request besides the error codes. `other` catches unexpected ones, so that the label values are
bounded."""

STAGE_BOUNDS_S = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0,
)  # fmt: skip
"""From decoding a short WAV to a long file's wait in a full queue."""
DELAY_BOUNDS_S = (0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
"""From the end of speech to its final, the pause that ends an utterance included."""
OPENMETRICS = "application/openmetrics-text"
WINDOW_BOUNDS = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The metrics of one application, in their own registry. Thread-safe."""

    def __init__(self) -> None:
        # They would add an unused series for each counter and histogram.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        registry = self._registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "dikte_requests_total",
            "Transcription requests by outcome: ok, the code of the error, or client_gone.",
            ["outcome"],
            registry=registry,
        )
        self._stages = Histogram(
            "dikte_stage_seconds",
            "Where the time of answered transcriptions went: decode, queue, inference, total.",
            ["stage"],
            buckets=STAGE_BOUNDS_S,
            registry=registry,
        )
        self._audio = Counter(
            "dikte_audio_seconds_total",
            "Audio of transcription requests, transcribed or refused, seconds.",
            ["outcome"],
            registry=registry,
        )
        self._queue = Gauge("dikte_queue_seconds", "Audio admitted and not answered, seconds.", registry=registry)
        self._queue_limit = Gauge(
            "dikte_queue_limit_seconds", "Most audio that is admitted and not answered, seconds.", registry=registry
        )
        self._uploads = Gauge("dikte_uploads_in_progress", "Request bodies that are being read.", registry=registry)
        self._windows = Histogram(
            "dikte_batch_windows", "Windows computed in one engine call.", buckets=WINDOW_BOUNDS, registry=registry
        )
        self._engine_audio = Counter(
            "dikte_engine_audio_seconds_total", "Audio that the engine computed, seconds.", registry=registry
        )
        self._engine_busy = Counter(
            "dikte_engine_busy_seconds_total",
            "Time in engine calls, seconds; parallel calls add up.",
            registry=registry,
        )
        self._rtfx = Gauge(
            "dikte_rtfx", "Measured speed with all workers busy, seconds of audio per second.", registry=registry
        )
        self._ready = Gauge("dikte_ready", "1 if requests may be sent, else 0.", registry=registry)
        self._model = Gauge(
            "dikte_model_info",
            "The model that is served; always 1.",
            ["model", "backend", "version"],
            registry=registry,
        )
        self.live = LiveMetrics(registry)
        cpu = Gauge(
            "dikte_cpu_info",
            "The CPU and its instructions for INT8 and bfloat16; always 1.",
            ["model", "features"],
            registry=registry,
        )
        cpu.labels(this_cpu().model, ", ".join(this_cpu().features)).set(1)
        self._outcomes = frozenset({OK, CLIENT_GONE, OTHER, *codes_below(AsrError)})
        for outcome in sorted(self._outcomes):  # from 0, otherwise the first event of a kind shows no increase
            self._requests.labels(outcome)
        for stage in ("decode", "queue", "inference", "total"):
            self._stages.labels(stage)
        for outcome in ("transcribed", "refused"):
            self._audio.labels(outcome)

    def answered(self, outcome: str) -> None:
        """Count a finished transcription request: `ok`, an error's code or `client_gone`."""
        self._requests.labels(outcome if outcome in self._outcomes else OTHER).inc()

    def transcribed(self, timings: Timings, duration_s: float) -> None:
        """Count a transcribed clip of `duration_s` seconds."""
        self._stages.labels("decode").observe(timings.decode_s)
        self._stages.labels("queue").observe(timings.queue_s)
        self._stages.labels("inference").observe(timings.inference_s)
        self._stages.labels("total").observe(timings.total_s)
        self._audio.labels("transcribed").inc(duration_s)

    def refused(self, duration_s: float) -> None:
        """Count a clip of `duration_s` seconds that was decoded and not admitted."""
        self._audio.labels("refused").inc(duration_s)

    def computed(self, windows: int, audio_s: float, busy_s: float) -> None:
        """Count an engine call: `windows` windows with `audio_s` seconds of audio in `busy_s` seconds."""
        self._windows.observe(windows)
        self._engine_audio.inc(audio_s)
        self._engine_busy.inc(busy_s)

    def loaded(self, model: str, backend: str) -> None:
        """Report this model, and no other, as the served one."""
        self._model.clear()
        self._model.labels(model, backend, __version__).set(1)

    def watch(
        self,
        *,
        queue_s: Callable[[], float],
        queue_limit_s: Callable[[], float],
        uploads: Callable[[], float],
        rtfx: Callable[[], float],
        ready: Callable[[], float],
    ) -> None:
        """Set the functions that the gauges read on every scrape."""
        self._queue.set_function(queue_s)
        self._queue_limit.set_function(queue_limit_s)
        self._uploads.set_function(uploads)
        self._rtfx.set_function(rtfx)
        self._ready.set_function(ready)

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All current metrics and their content type: Prometheus text, or OpenMetrics if `accept` asks for it."""
        # Not the header itself: the library fails on a version that is not a number.
        encode, content_type = choose_encoder(OPENMETRICS if OPENMETRICS in accept else "")
        return encode(self._registry), content_type


class LiveMetrics:
    """The metrics of live streams."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._streams = Gauge("dikte_live_streams", "Live streams that are open.", registry=registry)
        self._partials = Counter(
            "dikte_live_partials_total",
            "Partials of live streams: computed, or dropped because something more urgent came.",
            ["outcome"],
            registry=registry,
        )
        self._delay = Histogram(
            "dikte_live_final_delay_seconds",
            "From the end of speech to the final of an utterance, seconds.",
            buckets=DELAY_BOUNDS_S,
            registry=registry,
        )
        self._words = Counter(
            "dikte_live_committed_words_total",
            "Committed words of partials: kept by the final, or contradicted.",
            ["outcome"],
            registry=registry,
        )
        self._audio = Counter("dikte_live_audio_seconds_total", "Audio of live streams, seconds.", registry=registry)
        for outcome in ("computed", "dropped"):
            self._partials.labels(outcome)
        for outcome in ("kept", "contradicted"):
            self._words.labels(outcome)

    def watch(self, streams: Callable[[], float]) -> None:
        """Set the function that gives the number of open streams."""
        self._streams.set_function(streams)

    def closed(self, duration_s: float) -> None:
        """Count a stream of `duration_s` seconds that has ended."""
        self._audio.inc(duration_s)

    def partial_computed(self) -> None:
        """Count a partial."""
        self._partials.labels("computed").inc()

    def partial_dropped(self) -> None:
        """Count a partial that nobody gets."""
        self._partials.labels("dropped").inc()

    def final(self, delay_s: float, committed: int, contradicted: int) -> None:
        """Count a final, `delay_s` seconds after its speech, and the committed words before it."""
        self._delay.observe(delay_s)
        self._words.labels("kept").inc(committed - contradicted)
        self._words.labels("contradicted").inc(contradicted)


def codes_below(error: type[AsrError]) -> set[str]:
    """The codes of this error and all its subclasses."""
    return {error.code}.union(*(codes_below(kind) for kind in error.__subclasses__()))
