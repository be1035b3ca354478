"""Make a CTC checkpoint with random weights and the shape of a published one, to measure speed, size and memory.

    python scripts/tools/random_checkpoint.py --config wav2vec2-base --out data/base
    python scripts/tools/random_checkpoint.py --config wav2vec2-base --shape l6-c256 --out data/base-l6-c256

Speed does not depend on the values of the weights. The transcripts are random. The weights of the head are scaled up,
so that transcripts are not empty, and engines can be compared frame by frame.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, SEWConfig, Wav2Vec2Config

from scripts.speech.text import TURKISH_ALPHABET
from scripts.training.students import Shape, random_student, student_config

COMBINING_DOT = "\u0307"
BASE_TOKENS = ("|", "-", *"abcdefghijklmnopqrstuvwxyz", *"âçëîöüğış", COMBINING_DOT, "[UNK]", "[PAD]")
"""The vocabulary of cahya/wav2vec2-base-turkish. The combining dot comes from lower-casing İ."""
LARGE_TOKENS = ("|", *TURKISH_ALPHABET, "[UNK]", "[PAD]", "<s>", "</s>")

SQUEEZED_BASE: dict[str, Any] = {
    "feat_extract_norm": "group",
    "conv_bias": False,
    "conv_dim": [512] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
}
"""wav2vec2-base as a SEW model, without its `squeeze_factor`: what `scripts.training.squeeze` makes of it."""

CONFIGS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    # cahya/wav2vec2-base-turkish: 94.4 M parameters, 378 MB
    "wav2vec2-base": (
        BASE_TOKENS,
        {
            "feat_extract_norm": "group",
            "do_stable_layer_norm": False,
            "conv_bias": False,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "intermediate_size": 3072,
        },
    ),
    # mpoyraz/wav2vec2-xls-r-300m-cv7-turkish: 315 M parameters, 1.26 GB
    "wav2vec2-xls-r-300m": (
        LARGE_TOKENS,
        {
            "feat_extract_norm": "layer",
            "do_stable_layer_norm": True,
            "conv_bias": True,
            "hidden_size": 1024,
            "num_hidden_layers": 24,
            "num_attention_heads": 16,
            "intermediate_size": 4096,
        },
    ),
    "wav2vec2-base-squeeze-2": (BASE_TOKENS, SQUEEZED_BASE | {"squeeze_factor": 2}),
    "wav2vec2-base-squeeze-3": (BASE_TOKENS, SQUEEZED_BASE | {"squeeze_factor": 3}),
}
"""Name -> (tokens in the order of their ids, options of the configuration that differ from the defaults). With a
`squeeze_factor`, they are of SEWConfig, otherwise of Wav2Vec2Config."""

SAME_SHAPE = Shape()


def write_checkpoint(
    folder: Path, tokens: tuple[str, ...], options: dict[str, Any], seed: int, shape: Shape = SAME_SHAPE
) -> int:
    """Write weights, tokenizer and feature extractor settings to `folder`. Returns the number of parameters.

    shape: of a student of the model with these options. Raises ValueError if such a model has no such student.
    """
    config_class: type[PretrainedConfig] = SEWConfig if "squeeze_factor" in options else Wav2Vec2Config
    config = config_class(**options, vocab_size=len(tokens), pad_token_id=tokens.index("[PAD]"))
    model = random_student(config, shape, seed)
    if "squeeze_factor" in options:  # the inputs of this layer have unit variance, and so get its outputs
        upsampling = model.get_parameter("sew.encoder.upsample.projection.weight")
        torch.nn.init.normal_(upsampling, std=config.hidden_size**-0.5)
    model.save_pretrained(folder)
    settings: dict[str, dict[str, Any]] = {
        "vocab.json": {token: index for index, token in enumerate(tokens)},
        "tokenizer_config.json": {
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "bos_token": None,
            "eos_token": None,
            "unk_token": "[UNK]",
            "pad_token": "[PAD]",
            "word_delimiter_token": "|",
            "do_lower_case": False,
        },
        "preprocessor_config.json": {
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": 16_000,
            "do_normalize": True,
            "padding_side": "right",
            "padding_value": 0.0,
            "return_attention_mask": True,
        },
    }
    for name, content in settings.items():
        (folder / name).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return int(model.num_parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=tuple(CONFIGS), default="wav2vec2-base", help="shape of the model")
    parser.add_argument(
        "--shape",
        type=Shape.parse,
        default=SAME_SHAPE,
        help="of a student of it: l6-f1024-c256 has 6 layers, 1024 "
        "feed-forward units and at most 256 channels in a convolution (default: the shape of the model itself)",
    )
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        student_config(Wav2Vec2Config(**CONFIGS[arguments.config][1]), arguments.shape)
    except ValueError as error:
        parser.error(str(error))
    arguments.out.mkdir(parents=True, exist_ok=True)
    parameters = write_checkpoint(arguments.out, *CONFIGS[arguments.config], arguments.seed, arguments.shape)
    print(
        f"{arguments.config}, shape {arguments.shape.label}, random weights, {parameters / 1e6:.1f} M parameters: "
        f"{arguments.out}"
    )


if __name__ == "__main__":
    main()
