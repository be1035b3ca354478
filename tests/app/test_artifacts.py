import hashlib
import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from app.artifacts import (
    MANIFEST_FORMAT,
    MANIFEST_NAME,
    ArtifactError,
    FeatureSettings,
    Proof,
    UnprovenError,
    open_artifact,
    read_framing,
    read_manifest,
    sha256_of,
    write_manifest,
)
from app.files import LFS_POINTER
from app.windows import Framing
from scripts.random_checkpoint import COMBINING_DOT
from scripts.speech.text import TURKISH_ALPHABET
from tests.checkpoints import CAHYA_TOKENS, SHAPES, built

CONV = {"conv_kernel": [10, 3, 3, 3, 3, 2, 2], "conv_stride": [5, 2, 2, 2, 2, 2, 2]}


@pytest.fixture
def cahya(checkpoints: Path, tmp_path: Path) -> Path:
    """A copy of the published shape, to be changed."""
    return shutil.copytree(built("cahya_like", checkpoints), tmp_path / "cahya")


def rewrite(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes a key out."""
    value = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    value = {key: content for key, content in (value | changes).items() if content is not None}
    path.write_text(json.dumps(value), encoding="utf-8")


class TestVocabulary:
    def test_of_a_published_checkpoint(self, checkpoints: Path) -> None:
        vocabulary = open_artifact(built("cahya_like", checkpoints)).vocabulary
        assert vocabulary.tokens == tuple(CAHYA_TOKENS), "the added tokens 40 and 41 have no logit"
        assert vocabulary.blank == 39
        assert vocabulary.tokens[37] == COMBINING_DOT
        assert vocabulary.word_delimiter == "|"
        assert vocabulary.special == {"[PAD]", "[UNK]", "<s>", "</s>", ""}
        assert not vocabulary.lower_case

    def test_of_a_layer_norm_checkpoint(self, checkpoints: Path) -> None:
        vocabulary = open_artifact(built("layer_norm_like", checkpoints)).vocabulary
        assert vocabulary.tokens == ("|", *TURKISH_ALPHABET, "[UNK]", "[PAD]", "<s>", "</s>")
        assert vocabulary.tokens[vocabulary.blank] == "[PAD]"
        assert vocabulary.special == {"[PAD]", "[UNK]", "<s>", "</s>", ""}

    def test_of_one_of_ours(self, checkpoints: Path) -> None:
        vocabulary = open_artifact(built("small", checkpoints)).vocabulary
        assert vocabulary.tokens == ("[PAD]", "[UNK]", "|", *TURKISH_ALPHABET)
        assert vocabulary.blank == 0
        assert vocabulary.special == {"[PAD]", "[UNK]", ""}

    def test_a_logit_without_a_token_says_nothing(self, cahya: Path) -> None:
        rewrite(cahya / "config.json", vocab_size=43)
        vocabulary = open_artifact(cahya).vocabulary
        assert vocabulary.tokens == (*CAHYA_TOKENS, "<s>", "</s>", "")
        assert vocabulary.tokens[-1] in vocabulary.special

    def test_special_tokens_may_be_objects(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            pad = {"content": "[PAD]", "lstrip": False, "rstrip": False}
            rewrite(cahya / name, pad_token=pad, word_delimiter_token={"content": "-"})
        vocabulary = open_artifact(cahya).vocabulary
        assert vocabulary.blank == 39
        assert vocabulary.word_delimiter == "-"

    def test_special_tokens_may_be_null(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            path = cahya / name
            value = json.loads(path.read_text(encoding="utf-8")) | {"bos_token": None, "eos_token": None}
            path.write_text(json.dumps(value), encoding="utf-8")
        assert open_artifact(cahya).vocabulary.special == {"[PAD]", "[UNK]", ""}

    def test_without_tokenizer_settings_those_of_transformers_hold(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"):
            (cahya / name).unlink()
        tokens = ["<pad>", "<s>", "</s>", "<unk>", "|", *"abc"]
        (cahya / "vocab.json").write_text(json.dumps({token: index for index, token in enumerate(tokens)}))
        rewrite(cahya / "config.json", vocab_size=len(tokens), pad_token_id=0)
        vocabulary = open_artifact(cahya).vocabulary
        assert vocabulary.blank == 0
        assert vocabulary.special >= {"<pad>", "<s>", "</s>", "<unk>"}
        assert vocabulary.word_delimiter == "|"

    def test_the_model_names_the_blank_when_the_tokenizer_does_not(self, cahya: Path) -> None:
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            rewrite(cahya / name, pad_token="<pad>")
        rewrite(cahya / "added_tokens.json", **{"<pad>": 42})
        assert open_artifact(cahya).vocabulary.blank == 39

    def test_lower_casing_is_the_tokenizers_choice(self, cahya: Path) -> None:
        rewrite(cahya / "tokenizer_config.json", do_lower_case=True)
        assert open_artifact(cahya).vocabulary.lower_case


@pytest.mark.parametrize("shape", SHAPES)
def test_a_checkpoint_opens_with_its_features_and_framing(shape: str, checkpoints: Path) -> None:
    artifact = open_artifact(built(shape, checkpoints))
    assert artifact.features == FeatureSettings(sample_rate_hz=16_000, normalize=True)
    assert artifact.framing == Framing(hop=320, receptive_field=400)
    assert artifact.frame_s == 0.02
    assert artifact.name == shape
    assert artifact.manifest == {}


def test_a_pretrained_checkpoint_has_nothing_to_say(checkpoints: Path) -> None:
    with pytest.raises(ArtifactError, match=r"vocab\.json is missing"):
        open_artifact(built("pretrained_like", checkpoints))


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
    artifact = open_artifact(cahya)
    assert artifact.features == FeatureSettings(sample_rate_hz=8_000, normalize=False)
    assert artifact.frame_s == 0.04


def test_features_may_be_where_transformers_5_writes_them(cahya: Path) -> None:
    (cahya / "preprocessor_config.json").unlink()
    extractor = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "do_normalize": False, "sampling_rate": 8_000}
    rewrite(cahya / "processor_config.json", feature_extractor=extractor, processor_class="Wav2Vec2Processor")
    assert open_artifact(cahya).features == FeatureSettings(sample_rate_hz=8_000, normalize=False)


@pytest.mark.parametrize(
    "changes", [{"feature_extractor_type": "SeamlessM4TFeatureExtractor"}, {"feature_size": 80}], ids=str
)
def test_spectral_features_are_refused(cahya: Path, changes: dict[str, Any]) -> None:
    rewrite(cahya / "preprocessor_config.json", **changes)
    with pytest.raises(ArtifactError, match="wants spectral features; Dikte serves models on raw waveform so far"):
        open_artifact(cahya)


@pytest.mark.parametrize("name", ["config.json", "vocab.json"])
def test_a_missing_file_is_named(cahya: Path, name: str) -> None:
    (cahya / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing in .*cahya"):
        open_artifact(cahya)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "added_tokens.json", "special_tokens_map.json"])
def test_some_files_may_be_missing(cahya: Path, checkpoints: Path, name: str) -> None:
    (cahya / name).unlink()
    assert open_artifact(cahya).vocabulary.tokens == open_artifact(built("cahya_like", checkpoints)).vocabulary.tokens


@pytest.mark.parametrize(
    "name", ["config.json", "vocab.json", "tokenizer_config.json", "preprocessor_config.json", MANIFEST_NAME]
)
@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}", b"[1]", b"null"])
def test_broken_json_is_named(cahya: Path, name: str, content: bytes) -> None:
    (cahya / name).write_bytes(content)
    with pytest.raises(ArtifactError, match=name):
        open_artifact(cahya)


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
        open_artifact(cahya)


def test_a_blank_without_a_logit_is_refused(cahya: Path) -> None:
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        rewrite(cahya / name, pad_token="</s>")
    rewrite(cahya / "config.json", pad_token_id=40)
    with pytest.raises(ArtifactError, match="blank"):
        open_artifact(cahya)


def test_vocabularies_of_several_languages_are_refused(cahya: Path) -> None:
    (cahya / "vocab.json").write_text(json.dumps({"tur": {"a": 0}, "eng": {"a": 0}}), encoding="utf-8")
    with pytest.raises(ArtifactError, match="several languages"):
        open_artifact(cahya)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"there is no model folder .*nowhere"):
        open_artifact(tmp_path / "nowhere")


def test_the_manifest_gives_the_name(cahya: Path) -> None:
    rewrite(cahya / MANIFEST_NAME, name="wav2vec2 Türkçe")
    assert open_artifact(cahya).name == "wav2vec2 Türkçe"


@pytest.fixture
def proven(cahya: Path) -> Path:
    """An artifact whose manifest describes and proves everything."""
    (cahya / "model.onnx").write_bytes(bytes(range(256)) * 100)
    proofs = [
        Proof.judge("onnx", "max_difference", 1e-5, "at most", 1e-3),
        Proof.judge("onnx_int8", "argmax_agreement", 0.99, "at least", 0.95),
    ]
    manifest = {
        "format": MANIFEST_FORMAT,
        "name": "a model",
        "files": {path.name: {"sha256": sha256_of(path)} for path in cahya.iterdir() if path.is_file()},
        "proofs": {"proven": True, "checks": [asdict(proof) for proof in proofs]},
        "evidence": {"limit": 0.05, "clips": {"evidence_0.flac": {"onnx": {}, "onnx_int8": {}}}},
    }
    write_manifest(cahya, manifest)
    return cahya


class TestFiles:
    def test_the_file_described_is_given(self, proven: Path) -> None:
        assert open_artifact(proven).file("model.onnx") == proven / "model.onnx"

    @pytest.mark.parametrize("position", [0, 12_345, 25_599])
    def test_one_changed_byte_is_found(self, proven: Path, position: int) -> None:
        content = bytearray((proven / "model.onnx").read_bytes())
        content[position] ^= 0x10
        (proven / "model.onnx").write_bytes(content)
        with pytest.raises(
            UnprovenError, match=r"^a model is .*: model\.onnx is not the file that manifest\.json describes"
        ):
            open_artifact(proven).file("model.onnx")

    def test_a_file_cut_off_is_found(self, proven: Path) -> None:
        (proven / "model.onnx").write_bytes((proven / "model.onnx").read_bytes()[:-1])
        with pytest.raises(UnprovenError, match="sha256"):
            open_artifact(proven).file("model.onnx")

    def test_a_missing_file_says_how_to_make_it(self, proven: Path) -> None:
        (proven / "model.onnx").unlink()
        with pytest.raises(ArtifactError, match=rf"model\.onnx is missing.*export\.py .*--onnx_dir {proven}"):
            open_artifact(proven).file("model.onnx")

    def test_a_file_that_the_manifest_does_not_describe_is_not_what_was_proven(self, proven: Path) -> None:
        (proven / "model_int8.onnx").write_bytes(b"another")
        with pytest.raises(UnprovenError, match=r"manifest\.json does not describe model_int8\.onnx"):
            open_artifact(proven).file("model_int8.onnx")

    @pytest.mark.parametrize("name", ["model.onnx", "model.onnx_data", "model.onnx.data"])
    @pytest.mark.parametrize(
        ("content", "said"),
        [
            (LFS_POINTER + b"\noid sha256:0\n", "is a Git LFS pointer.*git lfs pull"),
            (b"", "is empty"),
            (None, "is a link to"),
        ],
    )
    def test_a_file_that_holds_nothing_is_no_doubt(
        self, proven: Path, name: str, content: bytes | None, said: str
    ) -> None:
        (proven / name).unlink(missing_ok=True)
        if content is None:
            (proven / name).symlink_to("nothing")
        else:
            (proven / name).write_bytes(content)
        with pytest.raises(ArtifactError, match=f"^{name} in .* {said}"):
            open_artifact(proven, allow_unproven=True).file("model.onnx")

    def test_settings_that_are_a_git_lfs_pointer_are_named(self, proven: Path) -> None:
        (proven / "vocab.json").write_bytes(LFS_POINTER)
        with pytest.raises(ArtifactError, match=r"^vocab\.json in .* is a Git LFS pointer"):
            open_artifact(proven)

    def test_without_a_manifest_files_are_taken_as_they_are(self, proven: Path) -> None:
        (proven / MANIFEST_NAME).unlink()
        assert open_artifact(proven).file("model.onnx") == proven / "model.onnx"

    @pytest.mark.parametrize("name", ["model.onnx_data", "model.onnx.data"])
    def test_weights_outside_the_file_are_part_of_it(self, proven: Path, name: str) -> None:
        (proven / name).write_bytes(b"weights")
        files = read_manifest(proven)["files"] | {name: {"sha256": sha256_of(proven / name)}}
        rewrite(proven / MANIFEST_NAME, files=files)
        assert open_artifact(proven).file("model.onnx") == proven / "model.onnx"
        (proven / name).write_bytes(b"weightz")
        with pytest.raises(UnprovenError, match=name):
            open_artifact(proven).file("model.onnx")

    @pytest.mark.parametrize("name", ["config.json", "vocab.json", "added_tokens.json", "preprocessor_config.json"])
    def test_other_settings_are_found_when_it_is_opened(self, proven: Path, name: str) -> None:
        (proven / name).write_bytes((proven / name).read_bytes() + b"\n")
        with pytest.raises(UnprovenError, match=rf"{name} is not the file"):
            open_artifact(proven)

    def test_settings_that_went_away_are_found(self, proven: Path) -> None:
        (proven / "added_tokens.json").unlink()
        with pytest.raises(UnprovenError, match=r"added_tokens\.json is not the file"):
            open_artifact(proven)

    def test_settings_that_came_later_are_found(self, proven: Path) -> None:
        files = read_manifest(proven)["files"]
        del files["added_tokens.json"]
        rewrite(proven / MANIFEST_NAME, files=files)
        with pytest.raises(UnprovenError, match=r"does not describe added_tokens\.json"):
            open_artifact(proven)


class TestProofs:
    @pytest.mark.parametrize("backend", ["onnx", "onnx_int8", "pytorch"])
    def test_what_is_proven_raises_no_doubt(self, proven: Path, backend: str) -> None:
        artifact = open_artifact(proven, allow_unproven=True)
        artifact.check_proofs(backend)
        assert artifact.doubts == []

    def test_the_reference_needs_no_proof(self, proven: Path) -> None:
        (proven / MANIFEST_NAME).unlink()
        open_artifact(proven).check_proofs("pytorch")

    def test_without_a_manifest_nothing_is_proven(self, proven: Path) -> None:
        (proven / MANIFEST_NAME).unlink()
        with pytest.raises(UnprovenError, match=r"there is no manifest\.json; prove it anew with .*export\.py --adopt"):
            open_artifact(proven).check_proofs("onnx")

    def test_a_failed_proof_is_said_with_its_figure_and_limit(self, proven: Path) -> None:
        proofs = read_manifest(proven)["proofs"]
        proofs["checks"][1] |= {"measured": 0.91, "passed": False}
        rewrite(proven / MANIFEST_NAME, proofs=proofs)
        for backend in ("onnx", "onnx_int8"):
            with pytest.raises(UnprovenError, match=r"argmax_agreement of onnx_int8 is 0\.91, must be at least 0\.95"):
                open_artifact(proven).check_proofs(backend)

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"format": 1}, "is of format 1, not 3"),
            ({"format": None}, "is of format None, not 3"),
            ({"format": 4}, "is of format 4, not 3"),
            ({"files": None}, "describes no files"),
            ({"files": {}}, "describes no files"),
            ({"files": ["model.onnx"]}, "describes no files"),
            ({"proofs": None}, "lists no proofs that can be read"),
            ({"proofs": []}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": None}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": ["all is well"]}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": [{"passed": True}]}}, "lists no proofs that can be read"),
            ({"proofs": {"proven": True, "checks": []}}, "lists no proof for onnx"),
            ({"evidence": None}, "keeps no evidence of onnx"),
            ({"evidence": {}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": []}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": {}}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": {"evidence_0.flac": None}}}, "keeps no evidence of onnx"),
            ({"evidence": {"clips": {"evidence_0.flac": {"onnx_int8": {}}}}}, "keeps no evidence of onnx"),
        ],
    )
    def test_a_manifest_that_proves_nothing(self, proven: Path, changes: dict[str, Any], reason: str) -> None:
        artifact = open_artifact(proven)
        rewrite(proven / MANIFEST_NAME, **changes)
        with pytest.raises(UnprovenError, match=reason):
            replace(artifact, manifest=read_manifest(proven)).check_proofs("onnx")

    def test_a_manifest_that_says_so_is_unproven(self, proven: Path) -> None:
        rewrite(proven / MANIFEST_NAME, proofs=read_manifest(proven)["proofs"] | {"proven": False})
        with pytest.raises(UnprovenError, match="says that it is not"):
            open_artifact(proven).check_proofs("onnx")

    def test_a_backend_that_was_not_measured_is_unproven(self, proven: Path) -> None:
        with pytest.raises(UnprovenError, match="lists no proof for another"):
            open_artifact(proven).check_proofs("another")

    def test_what_is_allowed_is_noted_and_logged(self, proven: Path, caplog: pytest.LogCaptureFixture) -> None:
        (proven / "model.onnx").touch()
        (proven / "model.onnx").write_bytes(b"other")
        rewrite(proven / "vocab.json", â=99)
        rewrite(proven / MANIFEST_NAME, format=1)
        artifact = open_artifact(proven, allow_unproven=True)
        artifact.check_proofs("onnx")
        assert artifact.file("model.onnx") == proven / "model.onnx"
        for doubt, said in zip(artifact.doubts, ("vocab.json is not", "format 1", "model.onnx is not"), strict=True):
            assert said in doubt
        assert [record.getMessage() for record in caplog.records] == [
            f"USED ALL THE SAME: {doubt}" for doubt in artifact.doubts
        ]
        assert {record.levelname for record in caplog.records} == {"ERROR"}


class TestProof:
    @pytest.mark.parametrize(
        ("measured", "bound", "passed"),
        [
            (0.5, "at most", True),
            (0.51, "at most", False),
            (-0.1, "at most", True),
            (0.5, "at least", True),
            (0.49, "at least", False),
            (float("nan"), "at most", False),
            (float("-inf"), "at most", False),
            (float("inf"), "at least", False),
        ],
    )
    def test_it_passes_if_its_limit_is_kept(
        self, measured: float, bound: Literal["at most", "at least"], passed: bool
    ) -> None:
        assert Proof.judge("onnx", "figure", measured, bound, 0.5).passed == passed

    def test_no_number_can_be_written_as_json(self) -> None:
        proof = Proof.judge("onnx", "max_difference", float("nan"), "at most", 1e-3)
        assert json.loads(json.dumps(asdict(proof), allow_nan=False))["measured"] is None
        assert str(proof) == "max_difference of onnx is no number, must be at most 0.001"


class TestManifest:
    def test_it_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        path = write_manifest(tmp_path, {"name": "wav2vec2 Türkçe", "files": {}})
        assert path == tmp_path / MANIFEST_NAME
        assert read_manifest(tmp_path) == {"name": "wav2vec2 Türkçe", "files": {}}
        assert list(tmp_path.iterdir()) == [path]

    def test_many_numbers_stand_on_one_line(self, tmp_path: Path) -> None:
        manifest = {"tokens": [0, -1.5, 2e-05], "names": ["[1, 2]", "a"], "none": [], "nested": [{"some": [7]}]}
        text = write_manifest(tmp_path, manifest).read_text(encoding="utf-8")
        assert '"tokens": [ 0, -1.5, 2e-05 ],' in text
        assert json.loads(text) == manifest

    @pytest.mark.parametrize("value", [float("nan"), object()])
    def test_what_cannot_be_written_leaves_what_was_there(self, tmp_path: Path, value: Any) -> None:
        write_manifest(tmp_path, {"name": "before"})
        with pytest.raises((ValueError, TypeError)):
            write_manifest(tmp_path, {"name": "after", "value": value})
        assert read_manifest(tmp_path) == {"name": "before"}
        assert len(list(tmp_path.iterdir())) == 1

    def test_a_full_disk_leaves_what_was_there(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_manifest(tmp_path, {"name": "before"})

        def write_half(path: Path, text: str, encoding: str) -> int:
            path.write_bytes(text.encode(encoding)[: len(text) // 2])
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(Path, "write_text", write_half)
        with pytest.raises(OSError, match="No space left"):
            write_manifest(tmp_path, {"name": "after"})
        assert read_manifest(tmp_path) == {"name": "before"}
        assert len(list(tmp_path.iterdir())) == 1


def test_sha256_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"dikte" * 1_000_000)
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"dikte" * 1_000_000).hexdigest()
