"""Tiny CTC checkpoints in the shapes that published ones have and of every architecture, and the artifacts exported
from them.

Every builder fills a folder and gives it back. The weights are random but always the same; the head is made decisive,
so that transcripts are not empty and INT8 has something to agree with.
"""

import hashlib
import json
import shutil
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from optimum.exporters.onnx import main_export
from torch.jit._trace import TracerWarning
from transformers import (
    AutoModelForCTC,
    Data2VecAudioConfig,
    HubertConfig,
    PretrainedConfig,
    PreTrainedModel,
    SEWConfig,
    SEWDConfig,
    UniSpeechConfig,
    UniSpeechSatConfig,
    Wav2Vec2Config,
    Wav2Vec2ConformerConfig,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForPreTraining,
    WavLMConfig,
)

from scripts.benchmarking.baselines import Source, make_baselines, source_of
from scripts.benchmarking.ctc_baselines import CTC_BASELINES
from scripts.export import export
from scripts.exporting.exporter import Options
from scripts.exporting.onnx_files import stock_export
from scripts.exporting.onnx_runtime_form import export_for_batches, export_for_onnx_runtime
from scripts.speech.text import TURKISH_ALPHABET
from scripts.tools.random_checkpoint import BASE_TOKENS
from scripts.training.checkpoints import SMALL_CONFIGS, new_tokenizer
from scripts.training.students import HEAD_GAIN
from tests.language_models import add_language_model
from tests.once import made_once

RATE_HZ = 16_000
CAHYA_TOKENS = list(BASE_TOKENS)
RANDOM_WER = 100.0
"""No random weights have a higher word error rate: insertions can bring it above 1."""

TINY_CONFIG: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "conv_dim": [32] * 7,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2],
    "num_feat_extract_layers": 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.0,
    # Only pretraining has these; their defaults are the bulk of a tiny model.
    "num_codevectors_per_group": 4,
    "codevector_dim": 8,
    "proj_codevector_dim": 8,
}


def cahya_like(folder: Path) -> Path:
    """cahya/wav2vec2-base-turkish: blank 39 of 40, more tokens than logits, old weight names, a language model."""
    config = Wav2Vec2Config(
        **TINY_CONFIG,
        feat_extract_norm="group",
        do_stable_layer_norm=False,
        conv_bias=False,
        vocab_size=len(CAHYA_TOKENS),
        pad_token_id=39,
        bos_token_id=1,
        eos_token_id=2,
    )
    _write_config(folder, config, "Wav2Vec2ForCTC", transformers_version="4.5.0.dev0")
    torch.save(_with_old_names(_ctc_model(config, seed=1).state_dict()), folder / "pytorch_model.bin")
    _write_json(folder / "vocab.json", {token: index for index, token in enumerate(CAHYA_TOKENS)})
    _write_json(folder / "added_tokens.json", {"<s>": 40, "</s>": 41})
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "[UNK]", "pad_token": "[PAD]"}
    _write_json(folder / "special_tokens_map.json", special)
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "do_lower_case": False,
            "word_delimiter_token": "|",
            "special_tokens_map_file": "/home/somebody/models/wav2vec2-base-turkish/special_tokens_map.json",
            "tokenizer_file": None,
            "name_or_path": "./wav2vec2-base-turkish",
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "processor_class": "Wav2Vec2ProcessorWithLM",
        },
    )
    _write_preprocessor(folder, processor_class="Wav2Vec2ProcessorWithLM")
    _write_json(folder / "alphabet.json", {"labels": [" ", "-", *CAHYA_TOKENS[2:38], "⁇", ""], "is_bpe": False})
    add_language_model(folder, "word")
    return folder


def layer_norm_like(folder: Path) -> Path:
    """mpoyraz/wav2vec2-xls-r-300m-cv7-turkish and its kind: layer norm, biased convolutions, `<pad>` as blank."""
    tokens = ["|", *TURKISH_ALPHABET, "[UNK]", "[PAD]"]
    config = Wav2Vec2Config(
        **TINY_CONFIG,
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        conv_bias=True,
        vocab_size=len(tokens) + 2,
        pad_token_id=len(tokens) - 1,
    )
    _write_config(folder, config, "Wav2Vec2ForCTC")
    torch.save(_with_old_names(_ctc_model(config, seed=2).state_dict()), folder / "pytorch_model.bin")
    _write_json(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
    _write_json(folder / "added_tokens.json", {"<s>": len(tokens), "</s>": len(tokens) + 1})
    special = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "[UNK]", "pad_token": "[PAD]"}
    added = [{"content": token, "single_word": False, "lstrip": False, "rstrip": False} for token in ("<s>", "</s>")]
    _write_json(folder / "special_tokens_map.json", {**special, "additional_special_tokens": added})
    _write_json(
        folder / "tokenizer_config.json",
        {
            **special,
            "do_lower_case": False,
            "word_delimiter_token": "|",
            "tokenizer_class": "Wav2Vec2CTCTokenizer",
            "processor_class": "Wav2Vec2ProcessorWithLM",
        },
    )
    _write_preprocessor(folder, processor_class="Wav2Vec2ProcessorWithLM")
    return folder


def pretrained_like(folder: Path) -> Path:
    """facebook/wav2vec2-base: an encoder without a head, without a tokenizer, with an old key in its config."""
    config = Wav2Vec2Config(**TINY_CONFIG, feat_extract_norm="group", do_stable_layer_norm=False, conv_bias=False)
    _write_config(folder, config, "Wav2Vec2ForPreTraining", gradient_checkpointing=True)
    torch.manual_seed(3)
    torch.save(_with_old_names(Wav2Vec2ForPreTraining(config).state_dict()), folder / "pytorch_model.bin")
    _write_preprocessor(folder, return_attention_mask=False)
    return folder


def small(folder: Path) -> Path:
    """What `train.py --model_name tr-small` writes, smaller still."""
    narrow = TINY_CONFIG | {"conv_dim": [8, 16, 24, 32, 32, 32, 32], "num_conv_pos_embedding_groups": 4}
    return _saved(folder, Architecture(Wav2Vec2Config, SMALL_CONFIGS["tr-small"] | narrow), seed=4)


SHAPES: dict[str, Callable[[Path], Path]] = {
    "cahya_like": cahya_like,
    "layer_norm_like": layer_norm_like,
    "small": small,
}
"""The checkpoints that can be exported and served, in the shapes of those that are published."""


class Architecture(NamedTuple):
    """A family of CTC models: its configuration with the options that tell its members apart, and whether its published
    checkpoints want sound scaled to unit variance."""

    config: type[PretrainedConfig]
    options: dict[str, Any]
    normalize: bool = True


_GROUP_NORM = TINY_CONFIG | {"feat_extract_norm": "group", "do_stable_layer_norm": False, "conv_bias": False}
_LAYER_NORM = TINY_CONFIG | {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
_SQUEEZED = TINY_CONFIG | {
    "conv_dim": [32] * 13,
    "conv_kernel": [10, 3, 1, 3, 1, 3, 1, 3, 1, 2, 1, 2, 1],
    "conv_stride": [5, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1, 2, 1],
    "num_feat_extract_layers": 13,
    "squeeze_factor": 2,
}
"""The layers of asapp/sew-tiny-100k and its kind: a convolution with kernel 1 behind each, and no projection."""
_SQUEEZED_WAV2VEC2 = TINY_CONFIG | {
    "feat_extract_norm": "layer",
    "conv_bias": True,
    "conv_dim": [32] * 6 + [24],
    "num_conv_pos_embeddings": 31,
    "squeeze_factor": 3,
}
"""Those of wav2vec2, an odd positional convolution, and a squeeze that neither windows nor taps are multiples of."""

ARCHITECTURES: dict[str, Architecture] = {
    "wav2vec2 with strided adapter": Architecture(
        Wav2Vec2Config, _GROUP_NORM | {"add_adapter": True, "num_adapter_layers": 1}
    ),
    "wav2vec2 with attention adapters": Architecture(Wav2Vec2Config, _LAYER_NORM | {"adapter_attn_dim": 8}),
    "hubert, group norm": Architecture(HubertConfig, _GROUP_NORM),
    "hubert, layer norm": Architecture(HubertConfig, _LAYER_NORM),
    "hubert, batch norm": Architecture(HubertConfig, _GROUP_NORM | {"conv_pos_batch_norm": True}),
    "wavlm, group norm": Architecture(WavLMConfig, _GROUP_NORM, normalize=False),
    "wavlm, layer norm": Architecture(WavLMConfig, _LAYER_NORM),
    "sew": Architecture(SEWConfig, _SQUEEZED),
    "sew, layers of wav2vec2": Architecture(SEWConfig, _SQUEEZED_WAV2VEC2),
    "sew-d": Architecture(SEWDConfig, _SQUEEZED),
    "data2vec-audio": Architecture(
        Data2VecAudioConfig, TINY_CONFIG | {"conv_pos_kernel_size": 5, "num_conv_pos_embeddings": 3}
    ),
    "unispeech": Architecture(UniSpeechConfig, _GROUP_NORM),
    "unispeech-sat": Architecture(UniSpeechSatConfig, _LAYER_NORM, normalize=False),
    "conformer, relative": Architecture(
        Wav2Vec2ConformerConfig, TINY_CONFIG | {"position_embeddings_type": "relative"}
    ),
    "conformer, rotary": Architecture(Wav2Vec2ConformerConfig, TINY_CONFIG | {"position_embeddings_type": "rotary"}),
    "conformer with strided adapter": Architecture(
        Wav2Vec2ConformerConfig, TINY_CONFIG | {"add_adapter": True, "num_adapter_layers": 1}
    ),
}
"""What transformers has of CTC models on samples and optimum exports, beside the wav2vec2 of `SHAPES`."""


MATRIX_SHAPES = (*SHAPES, "hubert, group norm", "hubert, layer norm", "sew", "sew, layers of wav2vec2")
"""Those that are exported in the matrix form."""
IN_EVERY_RUN = (
    *SHAPES,
    *("wav2vec2 with strided adapter", "hubert, layer norm", "wavlm, group norm", "conformer, rotary"),
    *("sew", "sew, layers of wav2vec2"),
)
"""One of each kind; `make test-all` tries the others too."""
TINY = [(family, norm) for family in ("wav2vec2", "hubert", "sew") for norm in ("group", "layer")]
"""What `tiny_model` takes."""


def sweep(shapes: Iterable[str]) -> list[object]:
    """Parameters of a test that tries all these shapes. Those that are not `IN_EVERY_RUN` are marked as slow."""
    return [pytest.param(shape, marks=() if shape in IN_EVERY_RUN else pytest.mark.slow) for shape in shapes]


def tiny_model(family: str, norm: str, **options: Any) -> PreTrainedModel:
    """A random model that has a matrix form, in its plain shape or with options of its configuration."""
    config = {"wav2vec2": Wav2Vec2Config, "hubert": HubertConfig, "sew": SEWConfig}[family]
    defaults = {"group": _GROUP_NORM, "layer": _LAYER_NORM}[norm]
    if family == "sew":
        defaults = {"group": _SQUEEZED, "layer": _SQUEEZED_WAV2VEC2}[norm]
    return _ctc_model(config(**(defaults | options), vocab_size=len(CAHYA_TOKENS)), seed=7)


def products_in_matrix_form(config: Any) -> int:
    """Products with constant weights: convolutions but the first, projection, positions, layers and head.

    SEW has no projection between equal widths, and a product behind the layers.
    """
    count = len(config.conv_dim) - 1 + 2 + 6 * int(config.num_hidden_layers) + 1
    if config.model_type == "sew" and config.conv_dim[-1] != config.hidden_size:
        count += 1
    return count


def built(shape: str, folder: Path) -> Path:
    """The checkpoint of a shape under `folder`, built once for all tests. Not to be changed."""

    def build(path: Path) -> None:
        path.mkdir()
        if shape in ARCHITECTURES:
            _saved(path, ARCHITECTURES[shape], seed=6)
        else:
            (SHAPES | {"pretrained_like": pretrained_like})[shape](path)

    return made_once(folder / "checkpoints" / shape, build)


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    value = {key: content for key, content in (value | changes).items() if content is not None}
    path.write_text(json.dumps(value), encoding="utf-8")


def exported(shape: str, folder: Path) -> Path:
    """The artifact made by `export.py` of a shape under `folder`, exported once for all tests. Not to be changed."""

    def make(path: Path) -> None:
        with exporting():
            export(str(built(shape, folder)), path, options(folder, name=f"test-{shape}"))

    return made_once(folder / "artifacts" / shape, make)


def options(folder: Path, **others: Any) -> Options:
    """Prove on `clips`. Random weights say random words: no WER is too high for their reference, and words are no
    measure of INT8, so a failed proof is no failure.
    """
    defaults: dict[str, Any] = {
        "eval_manifests": (str(clips(folder) / "manifest.jsonl"),),
        "max_reference_wer": RANDOM_WER,
        "allow_unproven": True,
    }
    return Options(**(defaults | others))


def by_optimum(shape: str, folder: Path) -> Path:
    """What `optimum-cli export onnx --task automatic-speech-recognition` makes of a shape. Not to be changed."""

    def make(path: Path) -> None:
        with exporting():
            main_export(str(built(shape, folder)), path, task="automatic-speech-recognition")

    return made_once(folder / "by optimum" / shape, make)


@contextmanager
def exporting() -> Iterator[None]:
    """Exports here do once what would come out the same: the graphs of a model are traced once, and its latencies, of
    which no test says how low they are, are measured once. What PyTorch warns of when optimum exports with its tracer
    is no concern of the tests.
    """
    with warnings.catch_warnings(), pytest.MonkeyPatch.context() as patch:
        for name, trace in TRACES.items():
            patch.setattr(f"scripts.exporting.graph_export.{name}", partial(_traced_once, trace))
        patch.setattr("scripts.exporting.timing.RUNS", 1)
        warnings.filterwarnings("ignore", category=TracerWarning)
        warnings.filterwarnings("ignore", "You are using the legacy TorchScript-based ONNX export", DeprecationWarning)
        warnings.filterwarnings("ignore", "(The shape inference of com.microsoft|Constant folding)", UserWarning)
        warnings.filterwarnings("ignore", "The feature will be removed", DeprecationWarning, r"torch\.onnx")
        yield


TRACES: dict[str, Callable[[PreTrainedModel], ModelProto]] = {
    trace.__name__: trace for trace in (export_for_batches, export_for_onnx_runtime, stock_export)
}
_traced: dict[tuple[str, str], bytes] = {}


def _traced_once(trace: Callable[[PreTrainedModel], ModelProto], model: PreTrainedModel) -> ModelProto:
    """The graph that `trace` makes of a model; of one with the same configuration and weights, that of before."""
    fingerprint = hashlib.sha256(model.config.to_json_string().encode())
    for name, values in model.state_dict().items():
        fingerprint.update(f"{name} {values.dtype} {tuple(values.shape)} ".encode())
        fingerprint.update(values.numpy().tobytes())
    key = trace.__name__, fingerprint.hexdigest()
    if key not in _traced:
        _traced[key] = trace(model).SerializeToString()
    graph = ModelProto()
    graph.ParseFromString(_traced[key])
    return graph


def served(shape: str, folder: Path) -> Path:
    """The artifact of a shape with the PyTorch weights beside it, so that every backend can load it."""

    def make(path: Path) -> None:
        shutil.copytree(exported(shape, folder), path)
        for weights in built(shape, folder).iterdir():
            if weights.suffix in (".bin", ".safetensors"):
                shutil.copy(weights, path)

    return made_once(folder / "served" / shape, make)


def baselines(shape: str, folder: Path) -> Source:
    """The baselines that need no more than the tests do, of a shape under `folder`, made once. Not to be changed."""

    def make(path: Path) -> None:
        with exporting():
            failed = make_baselines(
                source_of(built(shape, folder), path, clips(folder)),
                CTC_BASELINES,
                ["stock_fp32", "dynamic_all", "matmul_quint8", "matmul_qint8"],
            )
        assert not failed

    return source_of(built(shape, folder), made_once(folder / "baselines" / shape, make), clips(folder))


def clips(folder: Path) -> Path:
    """A folder with two sound files to compare on, and their manifest."""

    def make(path: Path) -> None:
        path.mkdir()
        for name, seed in (("one.wav", 1), ("two.flac", 2)):
            soundfile.write(path / name, babbling(1.0 + seed / 2, seed), RATE_HZ)
        write_eval_manifest(path, {"one.wav": "bir iki", "two.flac": "üç dört beş"})

    return made_once(folder / "clips", make)


def write_eval_manifest(sounds: Path, texts: dict[str, str]) -> Path:
    """`manifest.jsonl` in a folder of sounds: file name -> what is said in it."""
    path = sounds / "manifest.jsonl"
    lines = (json.dumps({"audio": name, "text": text}, ensure_ascii=False) for name, text in texts.items())
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def babbling(duration_s: float, seed: int) -> NDArray[np.float32]:
    """Something that changes like speech: random tones of a tenth of a second, with noise. Shape (samples,)."""
    random = np.random.default_rng(seed)
    pieces = -(-int(duration_s * RATE_HZ) // 1_600)
    hertz = np.repeat(random.uniform(100, 3_000, pieces), 1_600)
    loudness = np.repeat(random.uniform(0.0, 0.4, pieces), 1_600)
    sound = loudness * np.sin(np.cumsum(2 * np.pi * hertz / RATE_HZ)) + random.normal(0, 0.02, len(hertz))
    return sound[: int(duration_s * RATE_HZ)].astype(np.float32)


def _saved(folder: Path, architecture: Architecture, seed: int) -> Path:
    """A checkpoint with a tokenizer of ours, as transformers saves it."""
    tokenizer = new_tokenizer(TURKISH_ALPHABET)
    config = architecture.config(**architecture.options, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    for part in (
        _ctc_model(config, seed),
        tokenizer,
        Wav2Vec2FeatureExtractor(do_normalize=architecture.normalize, return_attention_mask=True),
    ):
        part.save_pretrained(folder)
    return folder


def _ctc_model(config: PretrainedConfig, seed: int) -> PreTrainedModel:
    torch.manual_seed(seed)
    model: PreTrainedModel = AutoModelForCTC.from_config(config)
    model.eval()
    with torch.no_grad():
        model.get_parameter("lm_head.weight").mul_(HEAD_GAIN)
    return model


def _with_old_names(weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Weight norm as PyTorch named it before 2.0."""
    return {
        name.replace("parametrizations.weight.original0", "weight_g").replace(
            "parametrizations.weight.original1", "weight_v"
        ): value
        for name, value in weights.items()
    }


def _write_config(folder: Path, config: Wav2Vec2Config, architecture: str, **more: Any) -> None:
    _write_json(folder / "config.json", config.to_dict() | {"architectures": [architecture]} | more)


def _write_preprocessor(folder: Path, **more: Any) -> None:
    settings = {
        "do_normalize": True,
        "feature_extractor_type": "Wav2Vec2FeatureExtractor",
        "feature_size": 1,
        "padding_side": "right",
        "padding_value": 0.0,
        "return_attention_mask": True,
        "sampling_rate": RATE_HZ,
    }
    _write_json(folder / "preprocessor_config.json", settings | more)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
