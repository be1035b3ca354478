import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCTC

from app.artifacts import ArtifactError
from app.families.ctc.checkpoint import load_checkpoint
from app.files import LFS_POINTER
from app.models import load_recognizer, open_model
from tests.checkpoints import ARCHITECTURES, SHAPES, built, sweep

Weights = dict[str, torch.Tensor]
POINTER = LFS_POINTER + b"\noid sha256:" + b"0" * 64 + b"\nsize 377667514\n"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp()


@pytest.fixture
def cahya(base: Path, tmp_path: Path) -> Path:
    """A checkpoint with `pytorch_model.bin`, to be changed."""
    return shutil.copytree(built("cahya_like", base), tmp_path / "checkpoint")


@pytest.fixture
def small(base: Path, tmp_path: Path) -> Path:
    """A checkpoint with `model.safetensors`, to be changed."""
    return shutil.copytree(built("small", base), tmp_path / "checkpoint")


@pytest.fixture
def encoder(base: Path, tmp_path: Path) -> Path:
    """A pretrained encoder without a head, to be changed. Its config file is as new ones are."""
    folder = shutil.copytree(built("pretrained_like", base), tmp_path / "checkpoint")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    del config["gradient_checkpointing"]
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture
def parts(small: Path) -> list[Path]:
    """The parts (shards) of the weights of a checkpoint."""
    model = AutoModelForCTC.from_pretrained(small)
    (small / "model.safetensors").unlink()
    model.save_pretrained(small, max_shard_size="30KB")
    return sorted(small.glob("model-*.safetensors"))


def change(folder: Path, edit: Callable[[Weights], Weights]) -> None:
    path = folder / "pytorch_model.bin"
    torch.save(edit(torch.load(path)), path)


def without(part: str) -> Callable[[Weights], Weights]:
    return lambda weights: {name: value for name, value in weights.items() if part not in name}


def refused(folder: Path, *, new_head: bool = False) -> str:
    """Why a checkpoint is refused, in one line of bearable length."""
    with pytest.raises(ArtifactError) as error:
        load_checkpoint(folder, new_head=new_head)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 800
    return message


# SEW-D compiles functions when it is made.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("shape", sweep([*SHAPES, *ARCHITECTURES]))
def test_every_shape_and_architecture_is_loaded_whole(shape: str, base: Path) -> None:
    model, new = load_checkpoint(built(shape, base))
    assert new == ()
    assert not model.training
    expected = AutoModelForCTC.from_pretrained(built(shape, base)).state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


class TestMissingWeights:
    def test_a_checkpoint_without_its_head(self, cahya: Path, caplog: pytest.LogCaptureFixture) -> None:
        change(cahya, without("lm_head"))
        message = refused(cahya)
        assert "needs lm_head.bias, lm_head.weight, which its files do not have" in message
        assert "scripts/train.py" in message
        assert caplog.records == []

    @pytest.mark.parametrize("prefix", ["module.", "model."])
    def test_a_prefix_of_the_names_is_reported(self, cahya: Path, prefix: str) -> None:
        change(cahya, lambda weights: {f"{prefix}{name}": value for name, value in weights.items()})
        message = refused(cahya)
        assert "lm_head.bias, lm_head.weight, wav2vec2.encoder" in message
        assert f"its files have {prefix}lm_head.bias" in message
        assert f"take the prefix {prefix!r} off" in message

    def test_a_layer(self, cahya: Path) -> None:
        change(cahya, without("layers.1.attention.k_proj.weight"))
        assert "needs wav2vec2.encoder.layers.1.attention.k_proj.weight, which" in refused(cahya)

    def test_half_of_a_weight_norm(self, cahya: Path) -> None:
        change(cahya, without("weight_g"))
        assert "cannot be loaded" in refused(cahya)

    def test_a_weight_that_only_the_index_has_lost(self, small: Path, parts: list[Path]) -> None:
        assert len(parts) > 2
        load_checkpoint(small)
        index = small / "model.safetensors.index.json"
        content = json.loads(index.read_text(encoding="utf-8"))
        del content["weight_map"]["lm_head.weight"]
        index.write_text(json.dumps(content), encoding="utf-8")
        assert "needs lm_head.weight, which" in refused(small)

    def test_it_is_not_loaded_to_serve(self, cahya: Path) -> None:
        change(cahya, without("lm_head"))
        with pytest.raises(ArtifactError, match=r"needs lm_head\.bias"):
            load_recognizer(open_model(cahya), "pytorch", threads=1)


class TestWeightsOfAnotherModel:
    def test_more_layers_than_the_config_has(self, cahya: Path) -> None:
        change(cahya, lambda old: old | {name.replace("layers.1.", "layers.2."): value for name, value in old.items()})
        message = refused(cahya)
        assert "its files have wav2vec2.encoder.layers.2.attention.k_proj.bias" in message
        assert "which the model does not use" in message

    def test_a_head_of_another_size(self, cahya: Path) -> None:
        change(cahya, lambda old: old | {"lm_head.weight": torch.zeros(33, 32), "lm_head.bias": torch.zeros(33)})
        assert "lm_head.bias, lm_head.weight have another shape than config.json says" in refused(cahya)


class TestWhatDoesNotMatter:
    def test_the_mask_of_training(self, cahya: Path) -> None:
        change(cahya, without("masked_spec_embed"))
        load_checkpoint(cahya)

    def test_a_mask_that_the_model_does_not_use(self, cahya: Path) -> None:
        config = json.loads((cahya / "config.json").read_text(encoding="utf-8"))
        (cahya / "config.json").write_text(json.dumps(config | {"mask_time_prob": 0.0}), encoding="utf-8")
        load_checkpoint(cahya)

    def test_what_pretraining_left_beside_the_head(self, cahya: Path, base: Path) -> None:
        pretraining = without("wav2vec2.")(torch.load(built("pretrained_like", base) / "pytorch_model.bin"))
        assert {name.split(".")[0] for name in pretraining} == {"quantizer", "project_hid", "project_q"}
        change(cahya, lambda old: old | pretraining | {"wav2vec2.encoder.position_ids": torch.arange(4)})
        load_checkpoint(cahya)

    @pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
    def test_the_attention_of_the_machine_that_it_was_made_on(self, cahya: Path, key: str) -> None:
        config = json.loads((cahya / "config.json").read_text(encoding="utf-8"))
        (cahya / "config.json").write_text(json.dumps(config | {key: "flash_attention_2"}), encoding="utf-8")
        assert load_checkpoint(cahya).model.config._attn_implementation == "sdpa"


class TestNewHead:
    def test_the_weights_of_the_head_are_new(self, encoder: Path) -> None:
        model, new = load_checkpoint(encoder, new_head=True, vocab_size=7)
        assert new == ("lm_head.bias", "lm_head.weight")
        assert model.config.vocab_size == 7
        stored = torch.load(encoder / "pytorch_model.bin")
        name = "wav2vec2.encoder.layers.1.attention.k_proj.weight"
        assert torch.equal(model.state_dict()[name], stored[name])

    def test_a_head_of_another_size_is_replaced(self, cahya: Path) -> None:
        assert load_checkpoint(cahya, new_head=True, vocab_size=7).new_weights == ("lm_head.bias", "lm_head.weight")

    def test_an_encoder_that_was_saved_alone(self, encoder: Path) -> None:
        change(encoder, lambda old: {name.removeprefix("wav2vec2."): old[name] for name in old if "wav2vec2." in name})
        assert load_checkpoint(encoder, new_head=True).new_weights == ("lm_head.bias", "lm_head.weight")

    @pytest.mark.parametrize("part", ["layers.1.attention", "feature_projection"])
    def test_the_encoder_has_to_be_there(self, encoder: Path, part: str) -> None:
        change(encoder, without(part))
        message = refused(encoder, new_head=True)
        assert part in message
        assert "lm_head" not in message

    def test_and_without_a_prefix(self, encoder: Path) -> None:
        change(encoder, lambda weights: {f"module.{name}": value for name, value in weights.items()})
        message = refused(encoder, new_head=True)
        assert "needs wav2vec2.encoder.layer_norm.bias" in message
        assert "take the prefix 'module.' off" in message

    def test_and_of_its_size(self, encoder: Path) -> None:
        change(
            encoder, lambda old: old | {name.replace("layers.1.", "layers.2."): value for name, value in old.items()}
        )
        assert "its files have wav2vec2.encoder.layers.2.attention" in refused(encoder, new_head=True)


class TestFiles:
    def test_a_git_lfs_pointer(self, cahya: Path) -> None:
        (cahya / "pytorch_model.bin").write_bytes(POINTER)
        assert "pytorch_model.bin" in (message := refused(cahya))
        assert "Git LFS pointer" in message
        assert "git lfs pull" in message

    def test_a_git_lfs_pointer_among_parts(self, small: Path, parts: list[Path]) -> None:
        parts[1].write_bytes(POINTER)
        assert f"{parts[1].name} in {small} is a Git LFS pointer" in refused(small)

    def test_a_git_lfs_pointer_instead_of_the_index(self, small: Path, parts: list[Path]) -> None:
        (small / "model.safetensors.index.json").write_bytes(POINTER)
        assert "model.safetensors.index.json" in (message := refused(small))
        assert "Git LFS pointer" in message

    @pytest.mark.parametrize("kept", [0, 5, 1_000, -1])
    @pytest.mark.parametrize("name", ["cahya", "small"])
    def test_weights_that_are_cut_off(self, request: pytest.FixtureRequest, name: str, kept: int) -> None:
        folder: Path = request.getfixturevalue(name)
        (path,) = [path for path in folder.iterdir() if path.suffix in (".bin", ".safetensors")]
        path.write_bytes(path.read_bytes()[:kept])
        assert f"{path.name} in {folder} is {'broken or cut off' if kept else 'empty'}: fetch it again" in refused(
            folder
        )

    def test_a_part_that_is_cut_off(self, small: Path, parts: list[Path]) -> None:
        parts[-1].write_bytes(parts[-1].read_bytes()[:-100])
        assert f"{parts[-1].name} in {small} is broken or cut off" in refused(small)

    def test_a_part_that_is_missing(self, small: Path, parts: list[Path]) -> None:
        parts[1].unlink()
        assert f"{parts[1].name} is missing in {small}, a part of the weights" in refused(small)

    def test_a_link_to_nothing(self, cahya: Path) -> None:
        (cahya / "pytorch_model.bin").unlink()
        (cahya / "pytorch_model.bin").symlink_to("../../blobs/gone")
        assert "pytorch_model.bin in" in (message := refused(cahya))
        assert "link to a file that is not there" in message

    @pytest.mark.parametrize("content", ["{}", "[]", "no JSON", '{"weight_map": []}'])
    def test_an_index_that_is_none(self, small: Path, parts: list[Path], content: str) -> None:
        (small / "model.safetensors.index.json").write_text(content, encoding="utf-8")
        assert "is no index of weights" in refused(small)

    def test_parts_without_their_index(self, small: Path, parts: list[Path]) -> None:
        (small / "model.safetensors.index.json").unlink()
        assert "there are no PyTorch weights in" in refused(small)
