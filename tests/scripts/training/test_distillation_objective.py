"""Distils tiny checkpoints: the loss of a batch, whole trainings, and what is refused."""

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForCTC,
    PreTrainedModel,
    TrainingArguments,
    Wav2Vec2FeatureExtractor,
)

from app.models import open_model
from scripts.speech.data import DataError
from scripts.training import checkpoints as configurations
from scripts.training.batches import IGNORED_LABEL, NO_TRANSCRIPT, Collator
from scripts.training.checkpoints import load_for_training
from scripts.training.ctc_objective import CtcOptions
from scripts.training.distillation import (
    DistillationOptions,
    ctc_per_letter,
    frame_divergence,
    hidden_distance,
    is_valid,
)
from scripts.training.distillation_objective import DistillationObjective
from scripts.training.distillation_trainer import PROJECTIONS_FILE, DistillationTrainer
from tests.checkpoints import babbling, built, rewrite
from tests.scripts.test_train import TINY, run, scalars
from tests.scripts.training.interruption import interrupted_after
from tests.speech import FEATURES, speech_rows, write_clips

NARROW: dict[str, Any] = TINY | {
    "hidden_size": 16,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embedding_groups": 2,
}
"""A student from scratch, narrower than its teacher."""


@pytest.fixture(scope="module")
def teacher(checkpoints: Path) -> Path:
    return built("small", checkpoints)


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    small = configurations.SMALL_CONFIGS["tr-small"] | NARROW
    monkeypatch.setitem(configurations.SMALL_CONFIGS, "tr-small", small)


class TestLoss:
    """The loss of a batch of a clip with letters, a clip of noise, and one whose text is not known."""

    FRAMES = torch.tensor([24, 29, 34])  # (samples - 400) // 320 + 1

    def batch(self) -> dict[str, Tensor]:
        labels: list[list[int]] = [[3, 4, 5], [], [NO_TRANSCRIPT]]
        clips = [babbling(0.5 + 0.1 * number, number) for number in range(3)]
        return Collator(FEATURES)(
            [{"input_values": clip, "labels": letters} for clip, letters in zip(clips, labels, strict=True)]
        )

    def trainer(self, teacher: PreTrainedModel, **options: Any) -> DistillationTrainer:
        trainer = object.__new__(DistillationTrainer)
        trainer.teacher, trainer.distillation = teacher, DistillationOptions("teacher", **options)
        trainer._parts = defaultdict(list)
        return trainer

    def test_its_parts_are_those_of_the_formula(self, teacher: Path) -> None:
        student = AutoModelForCTC.from_pretrained(teacher).eval()
        with torch.no_grad():
            student.lm_head.weight.mul_(0.5)
            student.wav2vec2.encoder.layers[1].final_layer_norm.weight.mul_(0.5)
        wise = AutoModelForCTC.from_pretrained(teacher).eval()
        batch = self.batch()
        trainer = self.trainer(wise, alpha=0.3, temperature=2.0, hidden_weight=0.7)
        loss = trainer.compute_loss(student, dict(batch))

        audio = {name: batch[name] for name in ("input_values", "attention_mask")}
        with torch.no_grad():
            ours, theirs = student(**audio, output_hidden_states=True), wise(**audio, output_hidden_states=True)
        valid = is_valid(self.FRAMES, 49)  # padded to a second
        labels = torch.tensor([[3, 4, 5], [IGNORED_LABEL] * 3])
        ctc = ctc_per_letter(ours.logits[:2], self.FRAMES[:2], labels, blank=0)
        divergence = frame_divergence(ours.logits, theirs.logits, valid, 2.0)
        hidden = hidden_distance(list(ours.hidden_states[1:]), list(theirs.hidden_states[1:]), valid)
        assert min(ctc, divergence, hidden) > 0.01
        torch.testing.assert_close(loss, 0.3 * ctc + 0.7 * divergence + 0.7 * hidden)
        parts = {name: values[0] for name, values in trainer._parts.items()}
        torch.testing.assert_close(
            parts, {"eval_loss_ctc": ctc, "eval_loss_kl": divergence, "eval_loss_hidden": hidden}
        )

    def test_a_copy_of_the_teacher_is_perfect(self, teacher: Path) -> None:
        model = AutoModelForCTC.from_pretrained(teacher).eval()
        trainer = self.trainer(model, alpha=0.0)
        assert trainer.compute_loss(model, self.batch()).item() == pytest.approx(0.0, abs=1e-6)

    def test_the_teacher_hears_the_same_without_dropout_and_gradients(self, teacher: Path, tmp_path: Path) -> None:
        objective = DistillationObjective(str(teacher), [], DistillationOptions(str(teacher)), CtcOptions(dropout=0.5))
        trainer = objective.trainer(
            None,  # type: ignore[arg-type]  # nothing is written
            args=TrainingArguments(str(tmp_path), use_cpu=True, report_to=[]),
            batch_s=1.0,
        )
        heard: list[tuple[Tensor, Tensor]] = []
        forward = trainer.teacher.forward

        def listening(**inputs: Any) -> Any:
            outputs = forward(**inputs)
            heard.append((inputs["input_values"], outputs.logits))
            return outputs

        trainer.teacher.forward = listening
        objective.model.train()
        batch = self.batch()
        trainer.compute_loss(objective.model, batch).backward()
        ((audio, logits),) = heard
        assert torch.equal(audio, batch["input_values"])
        assert not logits.requires_grad
        assert all(parameter.grad is None for parameter in trainer.teacher.parameters())
        assert objective.model.lm_head.weight.grad is not None
        plain = AutoModelForCTC.from_pretrained(teacher, attn_implementation="eager").eval()
        with torch.no_grad():
            expected = plain(batch["input_values"], batch["attention_mask"]).logits
        torch.testing.assert_close(logits, expected, rtol=1e-3, atol=1e-3)  # convolved by Fourier transforms


def options(model: Path | str, teacher: Path, data: Path, *others: str) -> list[str]:
    same = ["--dataset_name", str(data), "--eval_dataset_name", str(data), "--eval_percent", "1", "--batch_s", "2"]
    return ["--model_name", str(model), "--teacher", str(teacher), *same, "--output_dir", "out", *others]


@pytest.mark.usefixtures("narrow")
def test_a_narrow_student_learns_without_transcripts(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_clips(tmp_path, [None, "", None, "bir"])
    arguments = options("tr-small", teacher, data, "--max_steps", "30", "--eval_steps", "15", "--logging_steps", "1")
    arguments += [
        "--learning_rate",
        "1e-2",
        "--warmup_steps",
        "3",
        "--dropout",
        "0",
        "--alpha",
        "0",
        "--max_duration_s",
        "1.3",
    ]
    run(tmp_path, monkeypatch, *arguments)
    found = scalars(tmp_path / "runs/out")
    assert {"train/loss_ctc", "train/loss_kl", "train/loss_hidden", "eval/loss_kl", "eval/wer"} <= found.keys()
    for part in ("train/loss_kl", "train/loss_hidden"):
        assert np.mean(found[part][-5:]) < 0.8 * found[part][0]
    assert 0.0 in found["train/loss_ctc"], "batches without any transcript"
    assert max(found["train/loss_ctc"]) > 0, "and with one"

    last = tmp_path / "out/checkpoint-30"
    assert (last / PROJECTIONS_FILE).is_file()
    assert not (tmp_path / "out" / PROJECTIONS_FILE).exists()
    for folder in (last, tmp_path / "out"):
        assert not [name for name in load_file(folder / "model.safetensors") if "projection" in name.split(".")[0]]
        open_model(folder)
        student = load_for_training(str(folder), [], "tr")
    assert student.tokenizer.get_vocab() == load_for_training(str(teacher), [], "tr").tokenizer.get_vocab()


@pytest.mark.usefixtures("narrow")
def test_an_interrupted_distillation_ends_with_the_same_weights(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = write_clips(tmp_path, ["bir", None, "üç"])
    arguments = options("tr-small", teacher, data, "--max_steps", "5", "--eval_steps", "2", "--learning_rate", "1e-3")
    run(tmp_path / "whole", monkeypatch, *arguments)
    with interrupted_after(4, monkeypatch), pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", monkeypatch, *arguments)
    run(tmp_path / "parts", monkeypatch, *arguments)
    assert "Resuming from out/checkpoint-2" in capsys.readouterr().out
    for file in ("model.safetensors", PROJECTIONS_FILE):
        whole, parts, early = (
            load_file(tmp_path / "whole/out/checkpoint-5" / file),
            load_file(tmp_path / "parts/out/checkpoint-5" / file),
            load_file(tmp_path / "whole/out/checkpoint-4" / file),
        )
        assert all(torch.equal(whole[name], parts[name]) for name in whole)
        assert not all(torch.equal(whole[name], early[name]) for name in whole)

    other = shutil.copytree(teacher, tmp_path / "other")
    with pytest.raises(DataError, match=f"out has a training with --teacher {teacher}"):
        run(tmp_path / "parts", monkeypatch, *options("tr-small", other, data, "--max_steps", "6"))


def test_rows_to_evaluate_on_need_letters(teacher: Path) -> None:
    objective = DistillationObjective(str(teacher), [], DistillationOptions(str(teacher)))
    rows = speech_rows(["bir", None, "...", "a" * 40, "iki"], [1.0, 1.0, 1.0, 1.0, 0.1])
    assert objective.usable(rows, 0.5, 2.0) == [0, 1, 2]
    assert objective.usable(rows, 0.5, 2.0, evaluation=True) == [0]
    labels = objective.dataset(rows, groups=[(0,), (1,), (0, 0), (0, 2)]).labels
    assert labels[0] == labels[2][:3] != [NO_TRANSCRIPT]
    assert labels[1] == labels[3] == [NO_TRANSCRIPT], "a joined clip needs the texts of all its rows"


class TestTeachersThatDoNotSuit:
    def changed(self, teacher: Path, folder: Path, file: str, **changes: Any) -> str:
        other = shutil.copytree(teacher, folder / "other")
        rewrite(other / file, **changes)
        return str(other)

    def refused(self, student: Path, teacher: Path | str, message: str, options: CtcOptions = CtcOptions()) -> None:
        with pytest.raises(DataError, match=message):
            DistillationObjective(str(student), [], DistillationOptions(str(teacher)), options)

    def test_other_tokens(self, teacher: Path, checkpoints: Path) -> None:
        self.refused(built("cahya_like", checkpoints), teacher, "the teacher has other tokens than the student")

    def test_another_scale(self, teacher: Path, tmp_path: Path) -> None:
        other = self.changed(teacher, tmp_path, "preprocessor_config.json", do_normalize=False)
        assert not Wav2Vec2FeatureExtractor.from_pretrained(other).do_normalize
        self.refused(teacher, other, "another sample rate or another scale")

    def test_another_frame_rate(self, teacher: Path, tmp_path: Path) -> None:
        other = self.changed(teacher, tmp_path, "config.json", conv_stride=[5, 2, 2, 2, 2, 2, 1])
        self.refused(teacher, other, "the teacher has 98 frames for 1 s of audio and the student 49")

    # Old config files have this option. transformers still accepts it, with a deprecation warning.
    @pytest.mark.filterwarnings("ignore:Passing `gradient_checkpointing` to a config initialization:UserWarning")
    def test_no_head(self, teacher: Path, checkpoints: Path) -> None:
        self.refused(teacher, built("pretrained_like", checkpoints), "pretrained_like cannot be a teacher: .*head")

    def test_no_teacher(self, teacher: Path) -> None:
        self.refused(teacher, "missing/folder", "missing/folder cannot be a teacher")

    def test_an_alphabet(self, teacher: Path) -> None:
        self.refused(teacher, teacher, "--alphabet does not go with --teacher", CtcOptions(alphabet="abc"))


def test_options_without_a_teacher(teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_clips(tmp_path, ["bir", "iki"])
    arguments = ["--model_name", str(teacher), "--dataset_name", str(data), "--output_dir", "out"]
    with pytest.raises(DataError, match=r"cannot be trained: .* need a --teacher"):
        run(tmp_path, monkeypatch, *arguments, "--alpha", "0.2")
    assert not (tmp_path / "out").exists()
