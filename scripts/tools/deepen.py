"""Make a deeper wav2vec2 CTC checkpoint from a trained one, as a start for the training of a larger model.

    python scripts/tools/deepen.py --checkpoint_dir models/tr-small --layers 12 --feed_forward 2048 --out data/deep
    python scripts/train.py --model_name data/deep --dataset_name data/train/manifest.jsonl --augment \\
      --output_dir data/teacher

Each new layer follows a layer of the original and begins as its copy, but adds nothing to the hidden states. So the
deeper model begins about where the original one is, instead of from scratch. The result needs training: it has more
weights, and the norms of the new layers change the hidden states a little.
"""

import argparse
import copy
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import Wav2Vec2ForCTC
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2EncoderLayer

from scripts.training.checkpoints import load_with_head
from scripts.training.ctc_objective import DEFAULT_LANGUAGE


def deepen(model: Wav2Vec2ForCTC, layers: int, feed_forward: int, seed: int = 0) -> None:
    """Give the model `layers` layers, with `feed_forward` units each, that compute about the same as before, in place.

    New layers are spread evenly over the depth. Raises ValueError if the model has more layers or units already.
    """
    config, encoder = model.config, model.wav2vec2.encoder
    old: list[Any] = list(encoder.layers)
    if layers < len(old) or feed_forward < config.intermediate_size:
        size = f"{len(old)} layers with {config.intermediate_size} units"
        raise ValueError(f"the model has {size}, more than {layers} with {feed_forward}")
    torch.manual_seed(seed)
    for layer in old:
        _widen(layer, feed_forward, config.initializer_range)
    copies = [copy.deepcopy(old[index * len(old) // (layers - len(old))]) for index in range(layers - len(old))]
    for layer in copies:
        _silence(layer, post_norm=not config.do_stable_layer_norm)
    # The original layers at positions spread evenly, each before its new ones.
    slots = [index * len(old) // layers for index in range(layers)]
    originals, additions = iter(old), iter(copies)
    encoder.layers = nn.ModuleList(
        next(originals) if index == 0 or slots[index] != slots[index - 1] else next(additions)
        for index in range(layers)
    )
    config.num_hidden_layers, config.intermediate_size = layers, feed_forward


def _widen(layer: Wav2Vec2EncoderLayer, feed_forward: int, deviation: float) -> None:
    """Add units to the feed-forward part: random weights before them, zeros behind them."""
    first, second = layer.feed_forward.intermediate_dense, layer.feed_forward.output_dense
    added = feed_forward - first.out_features
    new = torch.randn(added, first.in_features) * deviation
    first.weight = nn.Parameter(torch.cat([first.weight.data, new]))
    first.bias = nn.Parameter(torch.cat([first.bias.data, torch.zeros(added)]))
    second.weight = nn.Parameter(torch.cat([second.weight.data, torch.zeros(second.out_features, added)], dim=1))
    first.out_features = second.in_features = feed_forward


def _silence(layer: Wav2Vec2EncoderLayer, *, post_norm: bool) -> None:
    """Make attention and feed-forward part output zeros, and the norms keep what they get.

    A norm behind a residual (post-norm) receives the output of the norm before it: a normalized vector, times `gain`,
    plus `shift`. It would bring its mean to 0 and its deviation to 1. The mean of `shift` and the deviation of gain and
    shift restore them, exactly for the average frame.
    """
    for product in (layer.attention.out_proj, layer.feed_forward.output_dense):
        nn.init.zeros_(product.weight)
        nn.init.zeros_(product.bias)
    if not post_norm:
        return
    gain, shift = layer.final_layer_norm.weight.data.clone(), layer.final_layer_norm.bias.data.clone()
    deviation = (gain.square().mean() + shift.var(correction=0)).sqrt()
    for norm in (layer.layer_norm, layer.final_layer_norm):
        norm.weight.data.fill_(deviation)
        norm.bias.data.fill_(shift.mean())


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint_dir", type=Path, required=True, help="trained wav2vec2 CTC checkpoint")
    parser.add_argument("--layers", type=int, required=True, help="layers of the new model")
    parser.add_argument("--feed_forward", type=int, help="feed-forward units in each layer (default: as before)")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to make")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args(argv)
    checkpoint = load_with_head(arguments.checkpoint_dir, DEFAULT_LANGUAGE)
    model = checkpoint.model
    if not isinstance(model, Wav2Vec2ForCTC):
        parser.error(f"{type(model).__name__} is not a wav2vec2 model")
    try:
        deepen(model, arguments.layers, arguments.feed_forward or model.config.intermediate_size, arguments.seed)
    except ValueError as error:
        parser.error(str(error))
    checkpoint.save(arguments.out)
    print(f"{model.num_parameters() / 1e6:.1f} M parameters: {arguments.out}")


if __name__ == "__main__":
    main()
