"""CTC models on raw waveform: wav2vec 2.0, HuBERT and related models."""

from collections.abc import Mapping
from pathlib import Path

from app.artifacts import Artifact
from app.families.ctc.graph import LENGTHS_INPUT, LOGITS_OUTPUT, WAVEFORM_INPUT, CtcGraph
from app.families.ctc.language_model import LanguageModelFolder
from app.families.ctc.recognizer import CtcRecognizer
from app.families.ctc.settings import read_settings
from app.recognizer import Windowing
from app.runtimes.graph import Graph, Tensor, TorchModule

MODEL_TYPES = (
    *("data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer"),
    *("wavlm", "mctct", "parakeet_ctc", "wav2vec2-bert"),  # `read_settings` refuses the last three: they take log-mel
)
"""The values of `model_type` in `config.json` that transformers' AutoModelForCTC loads."""
GRAPH = "model"
"""Name of the only graph; its file names start with it."""


class CtcFamily:
    """A CTC model's settings; makes its recognizers. Raises the errors of `read_settings`."""

    graphs = (GRAPH,)

    shares_sessions = False
    """Calls on one thread each, side by side, get more done than calls on several threads."""

    def __init__(self, artifact: Artifact) -> None:
        self.settings = read_settings(artifact)
        self.rate_hz = self.settings.features.sample_rate_hz
        self.tokens = self.settings.vocabulary.tokens
        self.language_model = LanguageModelFolder(artifact, self.settings.vocabulary)

    def torch_modules(self, folder: Path) -> Mapping[str, TorchModule]:
        """The checkpoint in float32. Raises the errors of `load_checkpoint`."""
        from app.families.ctc.checkpoint import load_checkpoint

        inputs = {WAVEFORM_INPUT: Tensor("float32", (None, None))}
        return {GRAPH: TorchModule(load_checkpoint(folder).model, inputs, (LOGITS_OUTPUT,))}

    def uses_few_shapes(self, inputs: Mapping[str, Tensor]) -> bool:
        """Whether clips are padded to a few lengths: only if the model takes their true lengths as an input."""
        return LENGTHS_INPUT in inputs

    def computes_steps(self, graph: str) -> bool:
        """False: the graph computes a whole window."""
        return False

    def recognizer(self, graphs: Mapping[str, Graph], windowing: Windowing = Windowing()) -> CtcRecognizer:
        """A recognizer on the graph. Raises ArtifactError if the graph does not take audio of any length."""
        return CtcRecognizer(
            self.settings, CtcGraph(graphs[GRAPH], self.settings.framing), windowing, self.language_model
        )
