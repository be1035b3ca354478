"""A family as somebody who adds one would write it: its model answers how long the clip is.

The example of `docs/model-families.md`. The checkpoint is a folder with `config.json` and `length.onnx`, whose graph
counts samples.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from app.artifacts import Artifact, ArtifactError
from app.recognizer import WINDOW_S, Agreement, Hypothesis, Options, Samples, Window, Windowing, never
from app.runtimes.graph import Graph, Tensor, TorchModule
from app.transcript import Segment, Word

GRAPH = "length"


class ClipLengthFamily:
    """What is read of an artifact before its graphs are loaded."""

    graphs = (GRAPH,)
    tokens = tuple("0123456789")
    shares_sessions = False

    def __init__(self, artifact: Artifact) -> None:
        self.rate_hz = int(artifact.read_json("config.json")["sampling_rate"])

    def torch_modules(self, folder: object) -> Mapping[str, TorchModule]:
        """There is no PyTorch model of it."""
        raise ArtifactError("clip-length is served from ONNX files only")

    def uses_few_shapes(self, inputs: Mapping[str, Tensor]) -> bool:
        """Every length is a shape of its own."""
        return False

    def computes_steps(self, graph: str) -> bool:
        """It has no decoder."""
        return False

    def recognizer(self, graphs: Mapping[str, Graph], windowing: Windowing) -> "ClipLengthRecognizer":
        """A recognizer on the graph."""
        return ClipLengthRecognizer(graphs[GRAPH], self.rate_hz, windowing.window_s or WINDOW_S)


class ClipLengthRecognizer:
    """Outputs the number of samples in each window."""

    batches = False
    detects_language = False

    def __init__(self, graph: Graph, rate_hz: int, window_s: float) -> None:
        self._graph = graph
        self.rate_hz = rate_hz
        self.window_s = window_s

    def check_options(self, options: Options) -> None:
        """It counts, whatever is asked of it."""

    def windows(self, samples: Samples, options: Options) -> list[Window]:
        """One after the other, without overlap."""
        step = int(self.window_s * self.rate_hz)
        return [Window(samples[start : start + step], start) for start in range(0, len(samples), step)]

    def is_audible(self, samples: Samples) -> bool:
        """Silence is as long as any other audio."""
        return True

    def compute(self, windows: Sequence[Window], options: Options, cancelled: Callable[[], bool] = never) -> list[int]:
        """The number of samples of each window."""
        return [int(self._graph({"samples": window.samples}, ["count"])["count"]) for window in windows]

    def decoder(self, options: Options) -> "ClipLengthDecoder":
        """A decoder for one clip."""
        return ClipLengthDecoder(self.rate_hz)

    def cost_s(self, duration_s: float) -> float:
        """Next to nothing."""
        return duration_s / 1000

    def check(self, window: Window, output: int) -> None:
        """Raises ArtifactError unless it counts right."""
        if output != len(window.samples):
            raise ArtifactError(f"the model counts {output} samples where there are {len(window.samples)}")

    def hypothesis(self, window: Window) -> Hypothesis:
        """It is sure of what it counts."""
        return Hypothesis(tuple(self.compute([window], Options())), (0.0,))

    def difference(self, expected: Hypothesis, window: Window) -> float:
        """It counts the same, or it does not."""
        return float(expected != self.hypothesis(window))

    def compare(self, windows: Sequence[Window], expected: Sequence[int], other: Sequence[int]) -> Agreement:
        """How many windows are counted alike."""
        same = int(np.equal(expected, other).sum())
        return Agreement(0.0, len(windows), same, same_text=sum(expected) == sum(other))


class ClipLengthDecoder:
    """Sums up, and says it at the end."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._samples = 0

    def add(self, window: Window, output: int) -> list[Segment]:
        """Nothing is final before the end."""
        self._samples += output
        return []

    def finish(self) -> list[Segment]:
        """The length of the clip."""
        duration_s = self._samples / self._rate_hz
        words = Word(f"{duration_s:g}", 0.0, duration_s, 1.0), Word("seconds", 0.0, duration_s, 1.0)
        return [Segment.of(words)]

    @property
    def pending_s(self) -> float | None:
        """What it says at the end starts with the clip."""
        return 0.0 if self._samples else None
