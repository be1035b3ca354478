"""Tiny Whisper checkpoints in the shapes that published ones and fine-tunes have.

The weights are random but always the same, and scaled so that greedy decoding writes text with some timestamps and
ends. The files are those of the hub: transformers reads them, and so does the service.
"""

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import torch
from transformers import WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from app.families.whisper.vocabulary import byte_letters
from tests.once import made_once

LANGUAGES = ("en", "zh", "de", "es", "ru", "tr", "haw", "yue")
"""Codes of the languages of the tiny checkpoints: a few, of two letters and of three."""
WORDS = " the| and| you| ing| bir| ve| için| değil| güzel| şimdi| çok| ışık|ları|ler|dir|1234|...|日本|the|an"
"""Words that the vocabulary has as tokens, with all their beginnings."""
PARTS = frozenset(letter for byte, letter in byte_letters().items() if byte >= ord("\x7f") or byte < ord(" "))
"""Tokens of one byte that is no ASCII letter: control characters, and parts of other letters in UTF-8."""
POSITIONS = 1_500
WINDOW_S = 30
TIME_STEP_S = 0.02
END, START, NO_TIMESTAMPS = "<|endoftext|>", "<|startoftranscript|>", "<|notimestamps|>"
INIT_STD = 0.5
"""Standard deviation of the weights; with the 0.02 of real training, every step would choose the same token."""
CONTROL_GAIN, TIMESTAMP_GAIN, PART_GAIN = 0.1, 0.5, 0.5
"""Factors of the embeddings of control tokens, of timestamps and of bytes that are parts of a letter: most of what is
written is text that can be read.
"""
END_SHARE = 0.12
"""Share of the steps after which the text ends, about: a bias before the projection raises the logit of the end."""


@dataclass(frozen=True)
class Variant:
    """What a tiny checkpoint has.

    multilingual: with tokens of languages and tasks in use; without, those of `LANGUAGES` are in the vocabulary all the
    same, as in the published English-only models, and the ids are others by one. vocabulary_padding: rows of the
    embedding that no token has. tokenizer_json: without it, the tokenizer is in the old format: `vocab.json`,
    `merges.txt` and `added_tokens.json`. text_token: an added token that is text; none if empty.
    processor_of_transformers_5: the feature extractor is inside `processor_config.json`. The other fields: whether a
    file, key or token is there.
    """

    multilingual: bool = True
    mel_bins: int = 80
    encoder_layers: int = 2
    decoder_layers: int = 2
    generation_config: bool = True
    lang_to_id: bool = True
    alignment_heads: bool = True
    tokenizer_json: bool = True
    timestamps_in_tokenizer: bool = True
    text_token: str = ""
    processor_of_transformers_5: bool = False
    vocabulary_padding: int = 0
    tied: bool = True
    float16: bool = False
    max_target_positions: int = 448


def make_whisper(folder: Path, **variant: Any) -> Path:
    """The checkpoint of a variant under `folder`, built once for all tests. Not to be changed.

    variant: fields of `Variant`.
    """
    wanted = Variant(**variant)
    changed = {name: value for name, value in asdict(wanted).items() if value != asdict(Variant())[name]}
    name = sha256(json.dumps(changed, sort_keys=True).encode()).hexdigest()[:16]
    return made_once(folder / "whisper" / name, lambda path: _build(path, wanted))


def vocabulary_of(variant: Variant) -> tuple[dict[str, int], list[tuple[str, str]], dict[str, int]]:
    """The text tokens with the token of the end, the merges of the byte-pair encoding, and the added tokens."""
    text, merges = _byte_pairs()
    if variant.multilingual:
        text = [*text, ""]  # the published multilingual models have this token
    numbers = {token: index for index, token in enumerate([*text, END])}
    no_speech = "<|nospeech|>" if variant.multilingual else "<|nocaptions|>"
    special = [START, *(f"<|{code}|>" for code in LANGUAGES), "<|translate|>", "<|transcribe|>"]
    special += ["<|startoflm|>", "<|startofprev|>", no_speech, NO_TIMESTAMPS]
    names = special + [f"<|{step * TIME_STEP_S:.2f}|>" for step in range(POSITIONS + 1)]
    added = {token: len(numbers) + place for place, token in enumerate(names)}
    if variant.text_token:
        added[variant.text_token] = len(numbers) + len(added)
    return numbers, merges, added


def _byte_pairs() -> tuple[list[str], list[tuple[str, str]]]:
    letters = byte_letters()
    tokens, merges = list(letters.values()), []
    for word in WORDS.split("|"):
        token, *others = (letters[byte] for byte in word.encode())
        for letter in others:
            if token + letter not in tokens:
                merges.append((token, letter))
                tokens.append(token + letter)
            token += letter
    return tokens, merges


def _build(folder: Path, variant: Variant) -> None:
    folder.mkdir()
    text, merges, added = vocabulary_of(variant)
    _write_model(folder, variant, text | added)
    _write_tokenizer(folder, variant, text, merges, added)
    extractor = WhisperFeatureExtractor(variant.mel_bins, chunk_length=WINDOW_S).to_dict()
    if variant.processor_of_transformers_5:
        _write(
            folder / "processor_config.json",
            {"feature_extractor": extractor, "processor_class": "WhisperProcessor"},
        )
    else:
        _write(folder / "preprocessor_config.json", extractor | {"processor_class": "WhisperProcessor"})


def _write_model(folder: Path, variant: Variant, numbers: dict[str, int]) -> None:
    config = WhisperConfig(
        vocab_size=len(numbers) + variant.vocabulary_padding,
        num_mel_bins=variant.mel_bins,
        d_model=64,
        encoder_layers=variant.encoder_layers,
        decoder_layers=variant.decoder_layers,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=128,
        decoder_ffn_dim=128,
        max_source_positions=POSITIONS,
        max_target_positions=variant.max_target_positions,
        init_std=INIT_STD,
        tie_word_embeddings=variant.tied,
        bos_token_id=numbers[END],
        eos_token_id=numbers[END],
        pad_token_id=numbers[END],
        decoder_start_token_id=numbers[START],
    )
    torch.manual_seed(5)
    model = WhisperForConditionalGeneration(config).eval()
    with torch.no_grad():
        for weights in {model.model.decoder.embed_tokens.weight, model.proj_out.weight}:
            weights[[index for token, index in numbers.items() if token in PARTS]] *= PART_GAIN
            weights[numbers[START] : numbers[NO_TIMESTAMPS] + 1] *= CONTROL_GAIN
            weights[numbers[NO_TIMESTAMPS] + 1 :][: POSITIONS + 1] *= TIMESTAMP_GAIN
            weights[len(numbers) :] = 0
            weights[numbers[END]].normal_(0, INIT_STD)  # it is padding too, which transformers starts at 0
        _let_texts_end(model, numbers)
    if variant.float16:
        model.half()
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if variant.generation_config:
        _write(folder / "generation_config.json", _generation_config(variant, numbers))


def _let_texts_end(model: WhisperForConditionalGeneration, numbers: dict[str, int]) -> None:
    """Raise the logit of the end so far that it is the highest after `END_SHARE` of random prefixes."""
    texts = torch.randint(numbers[END], (16, 16))
    encoded = model.model.encoder(torch.randn(1, model.config.num_mel_bins, 2 * POSITIONS)).last_hidden_state
    encoder_outputs = BaseModelOutput(last_hidden_state=encoded.expand(len(texts), -1, -1))
    logits = model(encoder_outputs=encoder_outputs, decoder_input_ids=texts).logits[..., : numbers[END] + 1]
    missing = (logits[..., :-1].amax(-1) - logits[..., -1]).flatten().quantile(END_SHARE)
    end = model.proj_out.weight[numbers[END]]
    model.model.decoder.layer_norm.bias.copy_(missing * end / end.square().sum())


def _generation_config(variant: Variant, numbers: dict[str, int]) -> dict[str, Any]:
    """The keys that the hub's files have."""
    controls = ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>"]
    suppressed = [numbers[token] for token in (START, *controls)] + [numbers[NO_TIMESTAMPS] - 1]
    punctuation = [numbers[token] for token in ("(", ")", "[", "]", "♪") if token in numbers]
    config = {
        "begin_suppress_tokens": [numbers["Ġ"], numbers[END]],
        "bos_token_id": numbers[END],
        "decoder_start_token_id": numbers[START],
        "eos_token_id": numbers[END],
        "is_multilingual": variant.multilingual,
        "max_initial_timestamp_index": 50,
        "max_length": variant.max_target_positions,
        "no_timestamps_token_id": numbers[NO_TIMESTAMPS],
        "pad_token_id": numbers[END],
        "prev_sot_token_id": numbers["<|startofprev|>"],
        "return_timestamps": False,
        "suppress_tokens": [*punctuation, *suppressed],
    }
    if variant.alignment_heads:
        config["alignment_heads"] = [[variant.decoder_layers - 1, 0], [variant.decoder_layers - 1, 1]]
    if variant.multilingual:
        if variant.lang_to_id:
            config["lang_to_id"] = {f"<|{code}|>": numbers[f"<|{code}|>"] for code in LANGUAGES}
        config["task_to_id"] = {task: numbers[f"<|{task}|>"] for task in ("transcribe", "translate")}
    return config


def _write_tokenizer(
    folder: Path, variant: Variant, text: dict[str, int], merges: list[tuple[str, str]], added: dict[str, int]
) -> None:
    last_control = added[NO_TIMESTAMPS]
    named = {
        token: index
        for token, index in added.items()
        if index <= last_control or variant.timestamps_in_tokenizer or token == variant.text_token
    }
    tokens = {
        index: {
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": index <= last_control,
        }
        for token, index in ({END: text[END]} | named).items()
    }
    _write(folder / "vocab.json", text)
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{first} {second}\n" for first, second in merges), encoding="utf-8"
    )
    _write(folder / "added_tokens.json", named)
    controls = [token for token, index in named.items() if index <= last_control]
    _write(
        folder / "special_tokens_map.json",
        {"bos_token": END, "eos_token": END, "unk_token": END, "additional_special_tokens": controls},
    )
    decoder = {"added_tokens_decoder": {str(index): token for index, token in tokens.items()}}
    _write(
        folder / "tokenizer_config.json",
        {
            **(decoder if variant.tokenizer_json else {}),
            "add_prefix_space": False,
            "additional_special_tokens": controls,
            "bos_token": END,
            "clean_up_tokenization_spaces": False,
            "eos_token": END,
            "errors": "replace",
            "model_max_length": 1024,
            "processor_class": "WhisperProcessor",
            "tokenizer_class": "WhisperTokenizer",
            "unk_token": END,
        },
    )
    if variant.tokenizer_json:
        _write(folder / "tokenizer.json", _fast_tokenizer(text, merges, tokens))


def _fast_tokenizer(
    text: dict[str, int], merges: list[tuple[str, str]], tokens: dict[int, dict[str, Any]]
) -> dict[str, Any]:
    """`tokenizer.json`, as `tokenizers` writes it for Whisper but without the template of its prompt."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": "",
        "end_of_word_suffix": "",
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": text,
        "merges": merges,
    }
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": index, **token} for index, token in tokens.items()],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def whisper_artifact(folder: Path, **variant: Any) -> Path:
    """The ONNX files of a variant with its settings, without proofs, under `folder`. Not to be changed."""
    checkpoint = make_whisper(folder, **variant)

    def build(path: Path) -> None:
        from scripts.exporting.artifact_folder import copy_settings
        from scripts.exporting.exporter import Options
        from scripts.exporting.whisper_exporter import WhisperExporter

        path.mkdir()
        exporter = WhisperExporter()
        copy_settings(checkpoint, path, exporter.settings_files, keep=False)
        exporter.make(exporter.load(checkpoint), path, Options(), {})

    return made_once(checkpoint.with_name(f"{checkpoint.name}-onnx"), build)
