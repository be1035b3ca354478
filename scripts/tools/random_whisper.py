"""Make a Whisper checkpoint with random weights and the shape of a published one, to measure speed, size and memory.

    python scripts/tools/random_whisper.py --config large-v3 --out data/whisper-large-v3

The time of a window and of a step does not depend on the values of the weights. The texts are random and have no end.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.models.whisper.tokenization_whisper import LANGUAGES

from app.families.whisper.vocabulary import byte_letters

POSITIONS, TIME_STEP_S = 1_500, 0.02
TEXT_TOKENS = 50_257
"""Tokens of the multilingual models before <|endoftext|>."""
END, START, NO_TIMESTAMPS = "<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"


@dataclass(frozen=True)
class Shape:
    """Sizes of a published model: width, layers of encoder and decoder, mel bins, languages."""

    width: int
    encoder_layers: int
    decoder_layers: int
    mel_bins: int = 80
    languages: int = 99


SHAPES = {
    "tiny": Shape(384, 4, 4),
    "base": Shape(512, 6, 6),
    "small": Shape(768, 12, 12),
    "medium": Shape(1024, 24, 24),
    "large-v2": Shape(1280, 32, 32),
    "large-v3": Shape(1280, 32, 32, 128, 100),
    "large-v3-turbo": Shape(1280, 32, 4, 128, 100),
}
HEAD_SIZE = 64
FLAGS = ("single_word", "lstrip", "rstrip", "normalized")
"""Properties that an added token may have."""


def languages_of(shape: Shape) -> list[str]:
    """Codes of the languages of a model, in the order of their tokens."""
    return list(LANGUAGES)[: shape.languages]


def tokenizer_json(shape: Shape) -> dict[str, Any]:
    """A byte-level tokenizer with as many tokens as the published ones: bytes, and pairs of bytes."""
    letters = list(byte_letters().values())
    pairs = [(one, two) for one in letters for two in letters][: TEXT_TOKENS - len(letters)]
    vocabulary = {token: index for index, token in enumerate([*letters, *(one + two for one, two in pairs)])}
    special = [
        END,
        START,
        *(f"<|{code}|>" for code in languages_of(shape)),
        "<|translate|>",
        "<|transcribe|>",
        "<|startoflm|>",
    ]
    special += ["<|startofprev|>", "<|nospeech|>", NO_TIMESTAMPS]
    special += [f"<|{step * TIME_STEP_S:.2f}|>" for step in range(POSITIONS + 1)]
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": len(vocabulary) + place, "content": token, "special": True} | dict.fromkeys(FLAGS, False)
            for place, token in enumerate(special)
        ],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {"type": "BPE", "vocab": vocabulary, "merges": [f"{one} {two}" for one, two in pairs]},
    }


def write_checkpoint(folder: Path, shape: Shape, seed: int) -> int:
    """Write weights, tokenizer and settings to `folder`. Returns the number of parameters."""
    tokenizer = tokenizer_json(shape)
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    config = WhisperConfig(
        vocab_size=max(ids.values()) + 1,
        num_mel_bins=shape.mel_bins,
        d_model=shape.width,
        encoder_layers=shape.encoder_layers,
        decoder_layers=shape.decoder_layers,
        encoder_attention_heads=shape.width // HEAD_SIZE,
        decoder_attention_heads=shape.width // HEAD_SIZE,
        encoder_ffn_dim=4 * shape.width,
        decoder_ffn_dim=4 * shape.width,
        max_source_positions=POSITIONS,
        bos_token_id=ids[END],
        eos_token_id=ids[END],
        pad_token_id=ids[END],
        decoder_start_token_id=ids[START],
        suppress_tokens=None,
        begin_suppress_tokens=None,
    )
    torch.manual_seed(seed)
    model = WhisperForConditionalGeneration(config)
    model.half().save_pretrained(folder)  # as the large ones are published
    WhisperFeatureExtractor(shape.mel_bins).save_pretrained(folder)
    generation = {
        "alignment_heads": [[shape.decoder_layers - 1, 0]],
        "decoder_start_token_id": ids[START],
        "eos_token_id": ids[END],
        "is_multilingual": True,
        "lang_to_id": {f"<|{code}|>": ids[f"<|{code}|>"] for code in languages_of(shape)},
        "max_initial_timestamp_index": 50,
        "max_length": 448,
        "no_timestamps_token_id": ids[NO_TIMESTAMPS],
        "task_to_id": {task: ids[f"<|{task}|>"] for task in ("transcribe", "translate")},
    }
    settings = {"tokenizer_class": "WhisperTokenizer", "unk_token": END, "eos_token": END, "bos_token": END}
    written = {"tokenizer.json": tokenizer, "generation_config.json": generation, "tokenizer_config.json": settings}
    for name, content in written.items():
        (folder / name).write_text(json.dumps(content, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(model.num_parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=tuple(SHAPES), default="base", help="shape of the model")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parameters = write_checkpoint(arguments.out, SHAPES[arguments.config], arguments.seed)
    print(f"whisper-{arguments.config}, random weights, {parameters / 1e6:.1f} M parameters: {arguments.out}")


if __name__ == "__main__":
    main()
