"""Squeezed models begin near their originals, compute the end of a clip as it is served, and learn."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCTC, PreTrainedModel, SEWForCTC, Wav2Vec2FeatureExtractor

from scripts.exporting.squeezed_frames import squeeze_factor
from scripts.speech.text import TURKISH_ALPHABET
from scripts.training.batches import Collator
from scripts.training.checkpoints import new_tokenizer
from scripts.training.ctc_objective import CtcObjective
from scripts.training.squeeze import (
    COPIED_FIELDS,
    EXTRA_CHANNELS,
    REST_LOGIT,
    Linearized,
    extra_offset,
    leave_out_rest,
    shifted_mean,
    squeezed,
)
from tests.checkpoints import babbling, tiny_model
from tests.scripts.test_train import run, scalars
from tests.speech import FEATURES, write_clips


def original(**options: Any) -> PreTrainedModel:
    """A "base" model whose features have another width than its layers."""
    return tiny_model("wav2vec2", "group", **({"conv_dim": [32] * 6 + [24]} | options))


def logits_of(model: PreTrainedModel, samples: Tensor) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = model(samples[None]).logits[0]
    return logits


def clip(duration_s: float = 2.0) -> Tensor:
    samples = torch.from_numpy(babbling(duration_s, 3))
    return (samples - samples.mean()) / samples.std()


@pytest.mark.parametrize("make", [original, lambda: tiny_model("hubert", "group", conv_dim=[32] * 6 + [24])])
def test_a_squeeze_of_one_frame_changes_little(make: Any) -> None:
    """All that differs is how linear the activation behind the layers is."""
    model = make()
    expected, found = logits_of(model, clip()), logits_of(squeezed(model, 1), clip())
    assert found.shape == expected.shape
    assert (found - expected).square().mean().sqrt() < 0.1 * expected.std()


def test_features_as_wide_as_the_layers_get_a_projection() -> None:
    """SEW has none between equal widths, so they are made wider, by channels that have no weight at first."""
    model = original(conv_dim=[32] * 7, hidden_size=32)
    made = squeezed(model, 1)
    assert made.config.conv_dim == [*[32] * 6, 32 + EXTRA_CHANNELS]
    expected, found = logits_of(model, clip()), logits_of(made, clip())
    assert np.corrcoef(found.flatten(), expected.flatten())[0, 1] > 0.9


@pytest.mark.parametrize("squeeze", [2, 3])
def test_it_can_be_saved_and_is_nearer_than_without_its_weights(squeeze: int, tmp_path: Path) -> None:
    model = original()
    before = copy.deepcopy(model.state_dict())
    made = squeezed(model, squeeze)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items()), "it is not changed"
    assert not made.training
    made.save_pretrained(tmp_path)
    loaded = AutoModelForCTC.from_pretrained(tmp_path)
    assert isinstance(loaded, SEWForCTC)
    assert loaded.config.squeeze_factor == squeeze
    assert all(getattr(loaded.config, name) == getattr(model.config, name) for name in COPIED_FIELDS)
    wanted, found = logits_of(model, clip()), logits_of(loaded.eval(), clip())
    assert found.shape == wanted.shape
    rest = len(wanted) - len(wanted) % squeeze
    near = np.corrcoef(found[:rest].flatten(), wanted[:rest].flatten())[0, 1]
    assert near > 0.5
    torch.testing.assert_close(found[:rest:squeeze], found[squeeze - 1 : rest : squeeze])  # each frame is repeated


@pytest.mark.parametrize("samples", [400 + 320 * 48, 400 + 320 * 49])
def test_the_end_of_a_clip_begins_as_a_blank(samples: int) -> None:
    """49 frames have no squeezed frame for the last one of them, 50 have one for all."""
    model = original()
    logits = logits_of(squeezed(model, 2), clip()[:samples])
    blank = model.config.pad_token_id
    others = torch.arange(logits.shape[1]) != blank
    if len(logits) % 2:
        assert logits[-1, blank] - logits[-1, others].max() > 0.5 * REST_LOGIT
    assert set(logits[:-1].argmax(dim=1).tolist()) != {blank}, "not everything is a blank"


def test_positions_are_the_means_of_those_of_the_frames() -> None:
    torch.manual_seed(0)
    convolution, frames = nn.Conv1d(4, 4, 16, padding=8, groups=2), torch.randn(1, 4, 60)
    with torch.no_grad():
        convolution.weight[..., -2:] = 0  # what would be left out
        every = convolution(frames)[..., :60]
        means = every.unflatten(2, (20, 3)).mean(dim=3)
        weight = shifted_mean(convolution.weight, 3)
        found = nn.functional.conv1d(frames, weight, convolution.bias, stride=3, padding=8, groups=2)[..., :20]
    torch.testing.assert_close(found, means, rtol=0, atol=1e-5)


def test_no_offset_makes_a_blank_of_a_head_that_never_prefers_one() -> None:
    weight, bias = torch.zeros(3, 4, dtype=torch.float64), torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
    offset = torch.ones(4, dtype=torch.float64)
    assert torch.equal(extra_offset(weight, bias, offset, blank=0), torch.zeros_like(offset))
    weight[1:] = 1.0
    added = extra_offset(weight, bias, offset, blank=0)
    rest = bias - weight @ (offset + added)
    assert rest[0] - rest[1:].max() == pytest.approx(REST_LOGIT)
    assert added.max() - added.min() < 1e-6, "the largest one is as small as it can be"


def test_the_new_head_is_the_inverse_of_the_offset() -> None:
    model = original()
    norm, head = nn.LayerNorm(32), nn.Linear(32, 40)
    nn.init.uniform_(norm.weight, -1.0, 1.0)
    nn.init.normal_(norm.bias)
    offset, weight, bias = Linearized.of(norm, head, model.config)
    with torch.no_grad():
        hidden = norm(torch.randn(1_000, 32)).double()
        found = nn.functional.linear(nn.functional.gelu(hidden + offset), weight, bias)
        expected = head(hidden.float()).double()
    assert (found - expected).square().mean().sqrt() < 0.1 * expected.std()


@pytest.mark.parametrize(
    "model",
    [
        tiny_model("wav2vec2", "layer"),
        tiny_model("wav2vec2", "group", adapter_attn_dim=8),
        tiny_model("hubert", "group", conv_pos_batch_norm=True),
        tiny_model("sew", "group"),
    ],
    ids=lambda model: model.config.model_type,
)
def test_models_with_other_layers_are_refused(model: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match=f"{model.config.model_type} models of this shape cannot be squeezed"):
        squeezed(model, 2)


def test_a_squeeze_is_a_number_of_frames() -> None:
    with pytest.raises(ValueError, match="not 0"):
        squeezed(original(), 0)


@pytest.mark.parametrize("left_out", [True, False])
def test_the_end_of_a_clip_in_a_batch_is_as_alone(left_out: bool) -> None:
    """Layer norm, because group norm depends on the padding in transformers. 0.4 s have 19 frames, 6 squeezed ones."""
    model = tiny_model("sew", "layer")
    if left_out:
        leave_out_rest(model)
    clips = [{"input_values": babbling(duration_s, 1), "labels": []} for duration_s in (0.4, 1.0)]
    batch = Collator(FEATURES)(clips)
    with torch.inference_mode():
        together = model(batch["input_values"], attention_mask=batch["attention_mask"]).logits[0]
        alone = model(torch.from_numpy(babbling(0.4, 1))[None]).logits[0]
    torch.testing.assert_close(together[:18], alone[:18], rtol=0, atol=1e-4)
    assert torch.allclose(together[18], alone[18], atol=1e-4) == left_out


def test_other_models_are_left_as_they_are() -> None:
    model = original()
    leave_out_rest(model)
    assert not model._forward_pre_hooks


def student_of(model: PreTrainedModel, folder: Path, squeeze: int) -> Path:
    for part in (squeezed(model, squeeze), new_tokenizer(TURKISH_ALPHABET)):
        part.save_pretrained(folder)
    Wav2Vec2FeatureExtractor(return_attention_mask=True).save_pretrained(folder)
    return folder


def checkpoint_of(model: PreTrainedModel, folder: Path) -> Path:
    for part in (model, new_tokenizer(TURKISH_ALPHABET), Wav2Vec2FeatureExtractor(return_attention_mask=True)):
        part.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("with_teacher", [False, True])
def test_it_learns(with_teacher: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a teacher of another frame rate in its layers, too: their states are compared as means."""
    size = len(new_tokenizer(TURKISH_ALPHABET))
    torch.manual_seed(0)
    model = original(layerdrop=0.0, hidden_dropout=0.0, attention_dropout=0.0, mask_time_prob=0.0)
    model.lm_head = nn.Linear(32, size)
    model.config.vocab_size, model.config.pad_token_id = size, 0
    teacher = checkpoint_of(model, tmp_path / "teacher")
    nn.init.normal_(model.lm_head.weight, std=0.3)  # the student does not begin with the teacher's head
    student = student_of(model, tmp_path / "student", 2)
    data = write_clips(tmp_path, ["bir", "iki", "üç", "dört"])
    arguments = ["--model_name", str(student), "--dataset_name", str(data), "--eval_dataset_name", str(data)]
    arguments += ["--eval_percent", "1", "--output_dir", "out", "--max_steps", "12", "--logging_steps", "1"]
    arguments += ["--learning_rate", "2e-3", "--warmup_steps", "1", "--dropout", "0", "--batch_s", "3"]
    if with_teacher:
        arguments += ["--teacher", str(teacher), "--alpha", "0"]
    run(tmp_path, monkeypatch, *arguments)
    found = scalars(tmp_path / "runs/out")
    for part in ("train/loss", *(["train/loss_kl"] if with_teacher else [])):
        assert np.mean(found[part][-3:]) < 0.9 * np.mean(found[part][:2]), part
    if with_teacher:
        assert found["train/loss_hidden"][0] < 0.3, "the layers begin near those of the teacher"
    assert isinstance(AutoModelForCTC.from_pretrained(tmp_path / "out"), SEWForCTC)


def test_training_computes_the_end_of_clips_as_served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[PreTrainedModel] = []
    monkeypatch.setattr("scripts.training.ctc_objective.leave_out_rest", seen.append)
    folder = student_of(original(), tmp_path, 2)
    objective = CtcObjective(str(folder), [])
    assert seen == [objective.model]
    assert squeeze_factor(objective.model.config) == 2
