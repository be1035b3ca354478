"""Makes students of tiny checkpoints: what they compute, and what they are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCTC, PreTrainedModel, Wav2Vec2Config, Wav2Vec2ForCTC

from app.models import open_model
from scripts.export import export
from scripts.speech.data import DataError
from scripts.training.checkpoints import SMALL_CONFIGS
from scripts.training.importance import Importance, importance_of_weights
from scripts.training.students import Shape, make_student, random_student, shape_of, student_config
from tests.checkpoints import TINY_CONFIG, babbling, built, exporting, options
from tests.scripts.test_train import run
from tests.speech import write_clips

MODELS = ("small", "cahya_like", "layer_norm_like", "hubert, group norm", "hubert, layer norm")
CLIP = torch.from_numpy(babbling(1.0, seed=3))[None]


def loaded(shape: str, checkpoints: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCTC.from_pretrained(built(shape, checkpoints)).eval()
    return model


@torch.no_grad()
def logits(model: PreTrainedModel) -> Tensor:
    found: Tensor = model(CLIP).logits
    return found


class TestShape:
    @pytest.mark.parametrize(
        ("shape", "label"),
        [
            (Shape(), "same"),
            (Shape(layers=6), "l6"),
            (Shape(layers=1, feed_forward=1024, conv_channels=256, squeeze=2), "l1-f1024-c256-s2"),
            (Shape(conv_channels=128), "c128"),
        ],
    )
    def test_it_has_a_label(self, shape: Shape, label: str) -> None:
        assert shape.label == label
        assert Shape.parse(label) == shape

    @pytest.mark.parametrize("label", ["", "l", "6", "l6-l4", "x6", "l6_c2", "l-6", "l6-", "same-l6", "h8"])
    def test_other_text_is_no_label(self, label: str) -> None:
        with pytest.raises(ValueError, match="is not a shape such as l6-f1024-c256, or same"):
            Shape.parse(label)

    @pytest.mark.parametrize("field", ["layers", "feed_forward", "conv_channels", "squeeze"])
    def test_nothing_in_it_is_empty(self, field: str) -> None:
        with pytest.raises(ValueError, match=f"a shape has {field} of at least 1, not 0"):
            Shape(**{field: 0})

    def test_a_model_has_one(self) -> None:
        assert shape_of(Wav2Vec2Config(**SMALL_CONFIGS["tr-small"])) == Shape(6, 1024, 256)
        assert shape_of(Wav2Vec2Config()).label == "l12-f3072-c512"


@pytest.mark.parametrize("name", MODELS)
def test_a_student_of_the_same_shape_is_a_copy(name: str, checkpoints: Path) -> None:
    teacher = loaded(name, checkpoints)
    for shape in (Shape(), shape_of(teacher.config)):
        student = make_student(teacher, shape)
        assert torch.equal(logits(student), logits(teacher))
        assert student.config.to_dict() == teacher.config.to_dict()
        with torch.no_grad():
            student.get_parameter("lm_head.weight").zero_()
        assert teacher.get_parameter("lm_head.weight").any(), "it shares no weights with its teacher"


@pytest.mark.parametrize("name", MODELS)
def test_a_student_is_an_ordinary_checkpoint(name: str, checkpoints: Path, tmp_path: Path) -> None:
    student = make_student(loaded(name, checkpoints), Shape(layers=1, feed_forward=24, conv_channels=20))
    assert shape_of(student.config) == Shape(1, 24, 20)
    student.save_pretrained(tmp_path)
    again, report = AutoModelForCTC.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    assert torch.equal(logits(again.eval()), logits(student))


@pytest.mark.parametrize("name", ["small", "hubert, layer norm"])
def test_it_has_the_layers_of_its_teacher(name: str, checkpoints: Path) -> None:
    teacher = loaded(name, checkpoints)
    values = importance_of_weights(teacher)
    first = make_student(teacher, Shape(layers=1), Importance(values.feed_forward, values.conv_channels, (1, 0)))
    encoder: Any = teacher.base_model.encoder
    expected = {}
    for kept in (0, 1):
        layers = encoder.layers
        encoder.layers = nn.ModuleList([layers[kept]])
        expected[kept] = logits(teacher)
        encoder.layers = layers
    assert not torch.allclose(expected[0], expected[1])
    torch.testing.assert_close(logits(first), expected[0])
    torch.testing.assert_close(logits(make_student(teacher, Shape(layers=1))), expected[1])


@pytest.mark.parametrize("name", ["small", "hubert, layer norm"])
def test_it_has_the_most_important_feed_forward_units(name: str, checkpoints: Path) -> None:
    teacher = loaded(name, checkpoints)
    student = make_student(teacher, Shape(feed_forward=40))
    units = importance_of_weights(teacher).feed_forward
    body: Any = teacher.base_model
    with torch.no_grad():
        for layer, values in zip(body.encoder.layers, units, strict=True):
            layer.feed_forward.output_dense.weight[:, values.argsort()[:-40]] = 0
    torch.testing.assert_close(logits(student), logits(teacher))


def test_it_has_the_most_important_channels() -> None:
    """The last convolution is narrow, because the norm behind it would take notice of channels of zeros."""
    torch.manual_seed(0)
    config = TINY_CONFIG | {"conv_dim": [32] * 6 + [16], "vocab_size": 8}
    teacher = Wav2Vec2ForCTC(Wav2Vec2Config(**config)).eval()
    with torch.no_grad():
        norm: Any = teacher.wav2vec2.feature_extractor.conv_layers[0].layer_norm
        norm.weight.uniform_(0.5, 2.0)
        norm.bias.normal_()
    student = make_student(teacher, Shape(conv_channels=20))
    assert student.config.conv_dim == [20] * 6 + [16]
    channels = importance_of_weights(teacher).conv_channels
    with torch.no_grad():
        for number, values in enumerate(channels[:-1]):
            following: Any = teacher.wav2vec2.feature_extractor.conv_layers[number + 1]
            following.conv.weight[:, values.argsort()[:-20]] = 0
    torch.testing.assert_close(logits(student), logits(teacher))


def test_norms_and_biases_follow_their_channels(checkpoints: Path) -> None:
    teacher = loaded("layer_norm_like", checkpoints)
    with torch.no_grad():
        for name, value in teacher.named_parameters():
            if ".layer_norm." in name or name.endswith("conv.bias"):
                value.uniform_(0.5, 2.0)
    student = make_student(teacher, Shape(conv_channels=12))
    channels = [values.topk(12).indices.sort().values for values in importance_of_weights(teacher).conv_channels]
    for index, kept in enumerate(channels):
        for part in ("conv.bias", "layer_norm.weight", "layer_norm.bias"):
            name = f"wav2vec2.feature_extractor.conv_layers.{index}.{part}"
            assert torch.equal(student.get_parameter(name), teacher.get_parameter(name)[kept])
    projection = "wav2vec2.feature_projection."
    for part in ("layer_norm.weight", "layer_norm.bias"):
        expected = teacher.get_parameter(projection + part)[channels[-1]]
        assert torch.equal(student.get_parameter(projection + part), expected)
    expected = teacher.get_parameter(f"{projection}projection.weight")[:, channels[-1]]
    assert torch.equal(student.get_parameter(f"{projection}projection.weight"), expected)


def test_it_is_exported_like_any_checkpoint(checkpoints: Path, tmp_path: Path) -> None:
    source = built("small", checkpoints)
    folder = tmp_path / "student"
    make_student(loaded("small", checkpoints), Shape(layers=1, feed_forward=24, conv_channels=20)).save_pretrained(
        folder
    )
    for file in source.iterdir():
        if not (folder / file.name).exists():
            (folder / file.name).write_bytes(file.read_bytes())
    with exporting():
        export(str(folder), tmp_path / "artifact", options(checkpoints))
    open_model(tmp_path / "artifact")


@pytest.mark.parametrize("name", ["cahya_like", "hubert, layer norm"])
def test_its_speed_can_be_measured_before_it_is_trained(name: str, checkpoints: Path) -> None:
    config = AutoConfig.from_pretrained(built(name, checkpoints))
    shape = Shape(layers=1, feed_forward=24, conv_channels=20)
    model = random_student(config, shape, seed=1).eval()
    student = make_student(loaded(name, checkpoints), shape)
    assert {key: value.shape for key, value in model.state_dict().items()} == {
        key: value.shape for key, value in student.state_dict().items()
    }
    assert shape_of(model.config) == shape_of(student.config) == shape
    assert torch.equal(logits(model), logits(random_student(config, shape, seed=1).eval()))
    assert not torch.equal(logits(model), logits(random_student(config, shape, seed=2).eval()))


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (Shape(layers=13), "at most the 12 layers of its teacher, not 13"),
        (Shape(feed_forward=4096), "at most the 3072 feed_forward of its teacher"),
        (Shape(conv_channels=513), "at most the 512 conv_channels of its teacher"),
        (Shape(squeeze=2), "squeeze is 1, not 2"),
    ],
)
def test_a_student_is_no_larger_than_its_teacher(shape: Shape, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        student_config(Wav2Vec2Config(), shape)


@pytest.mark.parametrize("name", ["wavlm, layer norm", "sew", "hubert, batch norm"])
def test_other_models_have_no_students(name: str, checkpoints: Path) -> None:
    with pytest.raises(ValueError, match="models of this shape have no students"):
        make_student(loaded(name, checkpoints), Shape(layers=1))


def test_a_training_starts_from_a_student(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, model = write_clips(tmp_path, ["bir", "iki", "üç"]), str(built("small", checkpoints))
    arguments = ["--model_name", model, "--teacher", model, "--dataset_name", str(data), "--output_dir", "out"]
    arguments += ["--max_steps", "2", "--eval_steps", "1"]
    smaller = ["--keep_layers", "1", "--keep_feed_forward", "24", "--keep_conv_channels", "20"]
    run(tmp_path, monkeypatch, *arguments, *smaller)
    assert shape_of(AutoConfig.from_pretrained(tmp_path / "out")) == Shape(1, 24, 20)
    open_model(tmp_path / "out")
    run(tmp_path, monkeypatch, *arguments[:-4], "--max_steps", "3", "--eval_steps", "1", *smaller)
    assert "Resuming from out/checkpoint-2" in capsys.readouterr().out
    with pytest.raises(DataError, match="a training with --keep_layers 1"):
        run(tmp_path, monkeypatch, *arguments)
    with pytest.raises(DataError, match=r"cannot be trained: a student has at most the 2 layers of its teacher, not 3"):
        run(tmp_path, monkeypatch, *arguments[:-4], "--keep_layers", "3")
