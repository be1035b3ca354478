"""Smaller models in the shape of a larger one: students, which begin with a part of the teacher's weights.

    student = make_student(teacher, Shape(layers=6, conv_channels=256))
    student.save_pretrained(folder)

A student is a checkpoint like any other: its shape is in the fields of the ordinary `config.json`, so it is trained,
exported and served unchanged. Attention heads stay: without some of its heads, a layer would have another width inside
its attention, for which `config.json` has no field.
"""

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CTC_MAPPING

from scripts.exporting.matrix_form import has_matrix_form
from scripts.training.importance import Importance, importance_of_weights, most_important
from scripts.training.reconstruction import reconstruct
from scripts.training.squeeze import ORIGINALS, squeezed

SAME = "same"
"""The label of the teacher's own shape."""
LETTERS = {"layers": "l", "feed_forward": "f", "conv_channels": "c", "squeeze": "s"}
"""Field of `Shape` -> its letter in labels."""

HEAD_GAIN = 60.0
"""Heads are initialised with a standard deviation of 0.02. Without a gain, all tokens would be about equally likely."""


@dataclass(frozen=True)
class Shape:
    """The shape of a student in relation to its teacher. None keeps the teacher's.

    layers: number of transformer layers. feed_forward: units of each feed-forward layer. conv_channels: most channels
    of a convolution; narrower ones stay as they are. squeeze: factor by which the frame rate is lower inside the
    encoder; 1 for the teacher's.

    Raises ValueError if a number is not positive.
    """

    layers: int | None = None
    feed_forward: int | None = None
    conv_channels: int | None = None
    squeeze: int = 1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and value < 1:
                raise ValueError(f"a shape has {field.name} of at least 1, not {value}")

    @property
    def label(self) -> str:
        """A short name for reports and files, such as `l6-f1024-c256`, or `same`."""
        values = {letter: getattr(self, name) for name, letter in LETTERS.items()}
        if self.squeeze == 1:
            del values[LETTERS["squeeze"]]
        return "-".join(f"{letter}{value}" for letter, value in values.items() if value is not None) or SAME

    @classmethod
    def parse(cls, label: str) -> Self:
        """The shape with this label. Raises ValueError if it is not a label."""
        names = {letter: name for name, letter in LETTERS.items()}
        values: dict[str, int] = {}
        for part in label.split("-") if label != SAME else []:
            found = re.fullmatch(r"([a-z])(\d+)", part)
            if found is None or found[1] not in names or names[found[1]] in values:
                raise ValueError(f"{label!r} is not a shape such as l6-f1024-c256, or {SAME}")
            values[names[found[1]]] = int(found[2])
        return cls(**values)


def shape_of(config: PretrainedConfig) -> Shape:
    """The complete shape of a model with this config."""
    return Shape(
        config.num_hidden_layers,
        config.intermediate_size,
        max(config.conv_dim),
        getattr(config, "squeeze_factor", 1),
    )


def student_config(config: PretrainedConfig, shape: Shape) -> PretrainedConfig:
    """The config of a student of a model with this config, before its layers are squeezed.

    Raises ValueError if the model is not a wav2vec2 or HuBERT model that has a matrix form, or smaller than the shape.
    """
    if not has_matrix_form(config) or (config.model_type not in ORIGINALS and shape != Shape()):
        raise ValueError(f"{config.model_type} models of this shape have no students; wav2vec2 and HuBERT models have")
    own = shape_of(config)
    for field in fields(Shape):
        wanted, most = getattr(shape, field.name), getattr(own, field.name)
        if field.name != "squeeze" and wanted is not None and wanted > most:
            raise ValueError(f"a student has at most the {most} {field.name} of its teacher, not {wanted}")
    changed = copy.deepcopy(config)
    changed.num_hidden_layers = shape.layers or config.num_hidden_layers
    changed.intermediate_size = shape.feed_forward or config.intermediate_size
    changed.conv_dim = [min(width, shape.conv_channels or width) for width in config.conv_dim]
    return changed


@torch.no_grad()
def make_student(
    teacher: PreTrainedModel,
    shape: Shape,
    importance: Importance | None = None,
    clips: Sequence[Tensor] = (),
) -> PreTrainedModel:
    """A new model with a part of the teacher's weights, on its device and in its mode.

    It keeps the most important units, channels and layers; importance: of the teacher, from
    `scripts.training.importance`. By default, it is that of the weights, and the layers are evenly spaced, the first
    and the last among them (V. Sanh et al., "DistilBERT", 2019). With the teacher's own shape, the student computes the
    same as the teacher. A squeezed student is a SEW model (`scripts.training.squeeze`). Raises ValueError as
    `student_config`, or if the teacher cannot be squeezed.
    """
    config = student_config(teacher.config, shape)
    kept = _Kept(config, importance or importance_of_weights(teacher))
    student = type(teacher)(config)
    weights = teacher.state_dict()
    prefix = f"{teacher.base_model_prefix}."
    student.load_state_dict(
        {name: kept.part(name.removeprefix(prefix), weights, prefix) for name in student.state_dict()}
    )
    student.train(teacher.training).to(teacher.device, teacher.dtype)
    if clips:
        reconstruct(student, teacher, kept.layers, clips)
    if shape.squeeze > 1:
        student = squeezed(student, shape.squeeze)
    moved: PreTrainedModel = student.to(teacher.device, teacher.dtype)  # type: ignore[arg-type]  # wrapped there
    return moved


def random_student(config: PretrainedConfig, shape: Shape, seed: int = 0) -> PreTrainedModel:
    """A CTC model of a student's shape with random weights: its speed is that of the student, before any training.

    config: of the teacher. Raises ValueError as `student_config`.
    """
    changed = student_config(config, shape)
    torch.manual_seed(seed)
    model_class: Any = MODEL_FOR_CTC_MAPPING[type(changed)]
    model: PreTrainedModel = model_class(changed)
    with torch.no_grad():
        model.get_parameter("lm_head.weight").mul_(HEAD_GAIN)
    return squeezed(model, shape.squeeze) if shape.squeeze > 1 else model


class _Kept:
    """Which of the teacher's layers, units and channels a student has."""

    def __init__(self, config: Any, importance: Importance) -> None:
        self.layers = importance.kept_layers(config.num_hidden_layers)
        self.units = [most_important(importance.feed_forward[layer], config.intermediate_size) for layer in self.layers]
        self.channels = [
            most_important(values, width)
            for values, width in zip(importance.conv_channels, config.conv_dim, strict=True)
        ]

    def part(self, name: str, weights: dict[str, Tensor], prefix: str) -> Tensor:
        """The student's tensor of this name, cut out of the teacher's weights. name: without the prefix."""
        source, indices = name, dict[int, Tensor]()  # dimension -> what is kept of it
        if found := re.match(r"feature_extractor\.conv_layers\.(\d+)\.(.*)", name):
            index = int(found[1])
            indices[0] = self.channels[index]
            if found[2] == "conv.weight" and index > 0:
                indices[1] = self.channels[index - 1]
        elif name.startswith("feature_projection.layer_norm."):
            indices[0] = self.channels[-1]
        elif name == "feature_projection.projection.weight":
            indices[1] = self.channels[-1]
        elif found := re.match(r"encoder\.layers\.(\d+)\.(.*)", name):
            index = int(found[1])
            source = f"encoder.layers.{self.layers[index]}.{found[2]}"
            if found[2].startswith("feed_forward.intermediate_dense."):
                indices[0] = self.units[index]
            elif found[2] == "feed_forward.output_dense.weight":
                indices[1] = self.units[index]
        value = weights[prefix + source if prefix + source in weights else source]
        for dimension, chosen in indices.items():
            value = value.index_select(dimension, chosen.to(value.device))
        return value
