import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from app.artifacts import (
    MANIFEST_NAME,
    ArtifactError,
    UnprovenError,
    open_artifact,
    read_manifest,
    sha256_of,
    write_manifest,
)
from app.families.ctc.settings import CtcSettings, FeatureSettings, read_framing, read_settings
from app.families.ctc.windows import Framing
from app.files import LFS_POINTER
from scripts.speech.text import TURKISH_ALPHABET
from scripts.tools.random_checkpoint import COMBINING_DOT
from tests.checkpoints import CAHYA_TOKENS, SHAPES, built, rewrite

CONV = {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}


@pytest.fixture
def cahya(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of the published shape, to be changed."""
    return shutil.copytree(built("cahya_like", checkpoints), tmp_path / "cahya")


def settings_in(folder: Path) -> CtcSettings:
    return read_settings(open_artifact(folder))


class TestVocabulary:
    def test_of_a_published_checkpoint(self, checkpoints: Path) -> None:
        vocabulary = settings_in(built("cahya_like", checkpoints)).vocabulary
        assert vocabulary.tokens == tuple(CAHYA_TOKENS), "the added tokens 40 and 41 have no logit"
        assert vocabulary.blank == 39
        assert vocabulary.tokens[37] == COMBINING_DOT
        assert vocabulary.word_delimiter == "|"
        assert vocabulary.special == {"[PAD]", "[UNK]", "<s>", "</s>", ""}
        assert not vocabulary.lower_case

    def test_of_a_layer_norm_checkpoint(self, checkpoints: Path) -> None:
        vocabulary = settings_in(built("layer_norm_like", checkpoints)).vocabulary
        assert vocabulary.tokens == ("|", *TURKISH_ALPHABET, "[UNK]", "[PAD]", "<s>", "</s>")
        assert vocabulary.tokens[vocabulary.blank] == "[PAD]"
        assert vocabulary.special == {"[PAD]", "[UNK]", "<s>", "</s>", ""}

    def test_of_one_of_ours(self, checkpoints: Path) -> None:
        vocabulary = settings_in(built("small", checkpoints)).vocabulary
        assert vocabulary.tokens == ("[PAD]", "[UNK]", "|", *TURKISH_ALPHABET)
        assert vocabulary.blank == 0
        assert vocabulary.special == {"[PAD]", "[UNK]", ""}

    def test_a_logit_without_a_token_says_nothing(self, cahya: Path) -> None:
        rewrite(cahya / "config.json", vocab_size=43)
        vocabulary = settings_in(cahya).vocabulary
        assert vocabulary.tokens == (*CAHYA_TOKENS, "<s>", "</s>", "")
        assert vocabulary.tokens[-1] in vocabulary.special

    def test_special_tokens_may_be_objects(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            pad = {"content": "[PAD]", "lstrip": False, "rstrip": False}
            rewrite(cahya / name, pad_token=pad, word_delimiter_token={"content": "-"})
        vocabulary = settings_in(cahya).vocabulary
        assert vocabulary.blank == 39
        assert vocabulary.word_delimiter == "-"

    def test_special_tokens_may_be_null(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            path = cahya / name
            value = json.loads(path.read_text(encoding="utf-8")) | {"bos_token": None, "eos_token": None}
            path.write_text(json.dumps(value), encoding="utf-8")
        assert settings_in(cahya).vocabulary.special == {"[PAD]", "[UNK]", ""}

    def test_without_tokenizer_settings_those_of_transformers_hold(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            (cahya / name).unlink()
        tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abc"]
        (cahya / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        rewrite(cahya / "config.json", vocab_size=len(tokens), pad_token_id=0)
        vocabulary = settings_in(cahya).vocabulary
        assert vocabulary.blank == 0
        assert vocabulary.special >= {"<pad>", "<s>", "</s>", "<unk>"}
        assert vocabulary.word_delimiter == "|"

    def test_the_model_names_the_blank_when_the_tokenizer_does_not(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            rewrite(cahya / name, pad_token="<pad>")
        rewrite(cahya / "added_tokens.json", **{"<pad>": 42})
        assert settings_in(cahya).vocabulary.blank == 39

    def test_lower_casing_is_the_tokenizers_choice(self, cahya: Path) -> None:
        rewrite(cahya / "tokenizer_config.json", do_lower_case=True)
        assert settings_in(cahya).vocabulary.lower_case


@pytest.mark.parametrize("shape", SHAPES)
def test_a_checkpoint_opens_with_its_features_and_framing(shape: str, checkpoints: Path) -> None:
    settings = settings_in(built(shape, checkpoints))
    assert settings.features == FeatureSettings(sample_rate_hz=16_000, normalize=True)
    assert settings.framing == Framing(hop=320, receptive_field=400)
    assert settings.frame_s == 0.02
    artifact = open_artifact(built(shape, checkpoints))
    assert artifact.name == shape
    assert artifact.manifest == {}


def test_a_pretrained_checkpoint_has_nothing_to_say(checkpoints: Path) -> None:
    with pytest.raises(ArtifactError, match=r"vocab\.json is missing"):
        settings_in(built("pretrained_like", checkpoints))


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (719, 1), (720, 2), (16_000, 49)])
def test_frames_of_a_clip(samples: int, frames: int) -> None:
    assert read_framing(CONV).frames(samples) == frames


def test_framing_comes_from_the_config() -> None:
    assert read_framing({"conv_kernel": [4, 3], "conv_stride": [2, 3]}) == Framing(hop=6, receptive_field=8)


def test_an_adapter_makes_frames_longer() -> None:
    assert read_framing(CONV | {"add_adapter": False}) == Framing(hop=320, receptive_field=400)
    assert read_framing(CONV | {"add_adapter": True}) == Framing(hop=2560, receptive_field=400)
    adapter = {"add_adapter": True, "num_adapter_layers": 2, "adapter_stride": 3, "adapter_kernel_size": 5}
    # Each frame of the first layer is made of five, less two of padding; of the second, of those.
    assert read_framing(CONV | adapter) == Framing(hop=2880, receptive_field=400 + 2 * 320 + 2 * 960)


@pytest.mark.parametrize(
    "adapter", [{"adapter_kernel_size": k, "adapter_stride": s} for k, s in [(3, 2), (3, 1), (4, 2), (5, 3), (6, 2)]]
)
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_an_adapter_gives_the_frames_that_its_convolutions_give(adapter: dict[str, int], layers: int) -> None:
    framing = read_framing(CONV | adapter | {"add_adapter": True, "num_adapter_layers": layers})
    for samples in range(400, 60_000, 37):
        frames = (samples - 400) // 320 + 1
        for _ in range(layers):
            frames = (frames + 2 - adapter["adapter_kernel_size"]) // adapter["adapter_stride"] + 1
        assert framing.frames(samples) == max(0, frames)


def test_adapters_of_padding_are_refused() -> None:
    with pytest.raises(ArtifactError, match="adapter of kernel 2 makes frames of nothing but padding"):
        read_framing(CONV | {"add_adapter": True, "adapter_kernel_size": 2})


@pytest.mark.parametrize(("samples", "frames"), [(400, 0), (719, 0), (720, 2), (1_040, 3), (16_000, 49)])
def test_a_squeezed_encoder_needs_frames_to_squeeze(samples: int, frames: int) -> None:
    assert read_framing(CONV | {"squeeze_factor": 2}).frames(samples) == frames


def test_features_come_from_the_preprocessor(cahya: Path) -> None:
    rewrite(cahya / "preprocessor_config.json", do_normalize=False, sampling_rate=8_000)
    settings = settings_in(cahya)
    assert settings.features == FeatureSettings(sample_rate_hz=8_000, normalize=False)
    assert settings.frame_s == 0.04


def test_features_may_be_where_transformers_5_writes_them(cahya: Path) -> None:
    (cahya / "preprocessor_config.json").unlink()
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": False, "sampling_rate": 8_000}
    rewrite(cahya / "processor_config.json", feature_extractor=extractor, processor_class="Wav2Vec2Processor")
    assert settings_in(cahya).features == FeatureSettings(sample_rate_hz=8_000, normalize=False)


@pytest.mark.parametrize(
    "changes", [{"feature_extractor_type": "SeamlessM4TFeatureExtractor"}, {"feature_size": 80}], ids=str
)
def test_spectral_features_are_refused(cahya: Path, changes: dict[str, Any]) -> None:
    rewrite(cahya / "preprocessor_config.json", **changes)
    with pytest.raises(ArtifactError, match="needs spectral features; Dikte serves only models on raw waveform so far"):
        settings_in(cahya)


@pytest.mark.parametrize("name", ["config.json", "vocab.json"])
def test_a_missing_file_is_named(cahya: Path, name: str) -> None:
    (cahya / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing in .*cahya"):
        settings_in(cahya)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "added_tokens.json", "special_tokens_map.json"])
def test_some_files_may_be_missing(cahya: Path, checkpoints: Path, name: str) -> None:
    (cahya / name).unlink()
    assert settings_in(cahya).vocabulary.tokens == settings_in(built("cahya_like", checkpoints)).vocabulary.tokens


@pytest.mark.parametrize(
    "name", ["config.json", "vocab.json", "tokenizer_config.json", "preprocessor_config.json", MANIFEST_NAME]
)
@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}", b"[1]", b"null"])
def test_broken_json_is_named(cahya: Path, name: str, content: bytes) -> None:
    (cahya / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        settings_in(cahya)


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("config.json", {"vocab_size": None}),
        ("config.json", {"vocab_size": "many"}),
        ("config.json", {"conv_kernel": None}),
        ("config.json", {"conv_stride": [5, 2]}),
        ("preprocessor_config.json", {"sampling_rate": "fast"}),
        ("vocab.json", {"a": "first"}),
        ("tokenizer_config.json", {"word_delimiter_token": {"text": "|"}}),
    ],
)
def test_settings_that_make_no_sense_are_refused(cahya: Path, name: str, changes: dict[str, Any]) -> None:
    rewrite(cahya / name, **changes)
    with pytest.raises(ArtifactError, match=r"the settings in .*cahya"):
        settings_in(cahya)


def test_a_blank_without_a_logit_is_refused(cahya: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        rewrite(cahya / name, pad_token="</s>")
    rewrite(cahya / "config.json", pad_token_id=40)
    with pytest.raises(ArtifactError, match="blank"):
        settings_in(cahya)


def test_vocabularies_of_several_languages_are_refused(cahya: Path) -> None:
    (cahya / "vocab.json").write_text(json.dumps({"tur": {"a": 0}, "eng": {"a": 0}}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="several languages"):
        settings_in(cahya)


@pytest.fixture
def proven(cahya: Path) -> Path:
    """A folder whose manifest describes every file."""
    files = {path.name: {"sha256": sha256_of(path)} for path in cahya.iterdir() if path.is_file()}
    write_manifest(cahya, {"name": "a model", "files": files})
    return cahya


def test_settings_that_are_a_git_lfs_pointer_are_named(proven: Path) -> None:
    (proven / "vocab.json").write_bytes(LFS_POINTER)
    with pytest.raises(ArtifactError, match=r"^vocab\.json in .* is a Git LFS pointer"):
        settings_in(proven)


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "added_tokens.json", "preprocessor_config.json"])
def test_other_settings_are_found_when_it_is_opened(proven: Path, name: str) -> None:
    (proven / name).write_bytes((proven / name).read_bytes() + b"\n")
    with pytest.raises(UnprovenError, match=rf"{name} is not the file"):
        settings_in(proven)


def test_settings_that_went_away_are_found(proven: Path) -> None:
    (proven / "added_tokens.json").unlink()
    with pytest.raises(UnprovenError, match=r"added_tokens\.json is not the file"):
        settings_in(proven)


def test_settings_that_came_later_are_found(proven: Path) -> None:
    files = read_manifest(proven)["files"]
    del files["added_tokens.json"]
    rewrite(proven / MANIFEST_NAME, files=files)
    with pytest.raises(UnprovenError, match=r"does not describe added_tokens\.json"):
        settings_in(proven)
