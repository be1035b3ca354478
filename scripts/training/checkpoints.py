"""Load checkpoints for the scripts: model, tokenizer, feature extractor and text normalizer.

`AutoProcessor` is not used: for a checkpoint that was published with a language model it needs pyctcdecode and kenlm,
although tokenizer and feature extractor load without them.
"""

import json
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

from transformers import (
    AutoConfig,
    PreTrainedModel,
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
)

from app.families.ctc.checkpoint import load_checkpoint
from app.families.ctc.language_model import PARTS
from app.models import find_model_folder
from app.runtimes.registry import REFERENCE
from scripts.common.model_files import copy_parts
from scripts.speech.text import PAD_TOKEN, UNK_TOKEN, WORD_DELIMITER, TextNormalizer, ctc_vocabulary, find_alphabet

SMALL_CONFIGS: dict[str, dict[str, Any]] = {
    "tr-small": {
        "hidden_size": 256,
        "num_hidden_layers": 6,
        "num_attention_heads": 4,
        "intermediate_size": 1024,
        # Narrow where the frame rate is high (3200 frames/s after layer 0), full width from 200 frames/s on.
        "conv_dim": [64, 128, 192, 256, 256, 256, 256],
        "num_conv_pos_embeddings": 64,
        "num_conv_pos_embedding_groups": 16,
        "feat_extract_norm": "group",
        "hidden_dropout": 0.05,
        "attention_dropout": 0.05,
        "activation_dropout": 0.0,
        "feat_proj_dropout": 0.0,
        "layerdrop": 0.0,
        "mask_time_prob": 0.05,
        "mask_time_length": 5,
    },
}
"""Name -> a small wav2vec2 configuration, to train from scratch."""


class CtcCheckpoint(NamedTuple):
    """A CTC model with its tokenizer, feature extractor and text normalizer.

    source: the checkpoint that the tokenizer is from; None if it is new. Its language model suits all models of these
    tokens.
    """

    model: PreTrainedModel
    tokenizer: Wav2Vec2CTCTokenizer
    feature_extractor: Wav2Vec2FeatureExtractor
    normalizer: TextNormalizer
    source: Path | None = None

    def save(self, folder: Path) -> None:
        """Write a checkpoint folder, with the language model of the source if it has one.

        The normalizer follows from the tokenizer.
        """
        for part in (self.model, self.tokenizer, self.feature_extractor):
            part.save_pretrained(folder)
        if self.source is not None:
            copy_parts(self.source, folder, PARTS)


def load_for_training(
    name: str,
    texts: list[str],
    language: str,
    alphabet: str = "",
    dropout: float | None = None,
    tokens_of: CtcCheckpoint | None = None,
) -> CtcCheckpoint:
    """Load a CTC checkpoint, a pretrained encoder with a new head, or a small configuration with random weights.

    name: hub id, checkpoint folder, or a key of `SMALL_CONFIGS`. The tokenizer of a checkpoint with a CTC head is kept.
    Otherwise it is that of `tokens_of`, or a new one is built from `alphabet` or, if that is empty, from the letters of
    `texts`. dropout: in hidden layers, in attention and before the head; None keeps the checkpoint's own. Prints the
    names of new weights. Raises ArtifactError if the checkpoint does not exist, or if weights of its encoder or its
    trained head are missing.
    """
    ctc: dict[str, Any] = {"ctc_loss_reduction": "sum", "ctc_zero_infinity": True}
    if dropout is not None:
        ctc |= {"hidden_dropout": dropout, "attention_dropout": dropout, "final_dropout": dropout}
    if name not in SMALL_CONFIGS:
        folder = find_model_folder(name, REFERENCE)
        config = AutoConfig.from_pretrained(folder)
        if any(architecture.endswith("ForCTC") for architecture in config.architectures or []):
            return load_with_head(folder, language, **ctc)

    if tokens_of is None:
        alphabet = alphabet or find_alphabet(texts, language)
        tokenizer, normalizer, source = new_tokenizer(alphabet), TextNormalizer(alphabet, language), None
        size = len(tokenizer)
    else:
        tokenizer, normalizer, source = tokens_of.tokenizer, tokens_of.normalizer, tokens_of.source
        size = int(tokens_of.model.config.vocab_size)
    ctc |= {"vocab_size": size, "pad_token_id": tokenizer.pad_token_id}
    if name in SMALL_CONFIGS:
        model: PreTrainedModel = Wav2Vec2ForCTC(Wav2Vec2Config(**(SMALL_CONFIGS[name] | ctc)))
        feature_extractor = Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True)
    else:
        model = _load(folder, new_head=True, **ctc)
        feature_extractor = Wav2Vec2FeatureExtractor.from_pretrained(folder)
    return CtcCheckpoint(model, tokenizer, feature_extractor, normalizer, source)


def load_with_head(folder: Path, language: str, **options: Any) -> CtcCheckpoint:
    """Load a CTC checkpoint with its head. options: fields of its config to change.

    Raises ArtifactError if it has no head, or if other weights are missing.
    """
    model = _load(folder, **options)
    tokenizer = Wav2Vec2CTCTokenizer.from_pretrained(folder)
    normalizer = normalizer_of(tokenizer, int(model.config.vocab_size), language)
    return CtcCheckpoint(model, tokenizer, Wav2Vec2FeatureExtractor.from_pretrained(folder), normalizer, folder)


def _load(folder: Path, *, new_head: bool = False, **options: Any) -> PreTrainedModel:
    model, new_weights = load_checkpoint(folder, new_head=new_head, **options)
    if new_weights:
        print(f"New weights, with random values: {', '.join(new_weights)}")
    model.gradient_checkpointing_disable()  # old config files enable it, and every layer would be computed twice
    return model


def normalizer_of(tokenizer: Wav2Vec2CTCTokenizer, vocab_size: int, language: str) -> TextNormalizer:
    """A normalizer to the letters that the model can output, which are its one-letter tokens that have a logit."""
    tokens = [token for token, index in tokenizer.get_vocab().items() if index < vocab_size]
    return TextNormalizer.for_tokens(tokens, language)


def new_tokenizer(alphabet: str) -> Wav2Vec2CTCTokenizer:
    """A tokenizer of single letters. Its blank is `[PAD]`, with id 0."""
    with tempfile.TemporaryDirectory() as folder:
        vocabulary = Path(folder) / "vocab.json"
        vocabulary.write_text(json.dumps(ctc_vocabulary(alphabet), ensure_ascii=False), encoding="utf-8")
        return Wav2Vec2CTCTokenizer(
            str(vocabulary),
            unk_token=UNK_TOKEN,
            pad_token=PAD_TOKEN,
            word_delimiter_token=WORD_DELIMITER,
            bos_token=None,
            eos_token=None,
        )
