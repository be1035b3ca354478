"""Fine-tunes tiny Whisper checkpoints with `scripts/train.py`. The same for CTC is in `test_train.py`."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import TrainerControl, TrainerState, TrainingArguments, WhisperForConditionalGeneration

from app.artifacts import open_artifact
from app.families.whisper.settings import read_settings
from app.models import load_recognizer, open_model, warm_up
from app.recognizer import Options, Window, compute_windows
from app.runtimes.registry import REFERENCE
from scripts import train
from scripts.speech.data import DataError, load_speech
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import MEAN_PAUSE_S
from scripts.training.training_record import ADAPTERS, check_complete
from scripts.training.whisper_objective import WhisperObjective, WhisperOptions
from scripts.training.whisper_trainer import EvaluateAtEnd
from tests.scripts.test_train import run, scalars, state_of
from tests.speech import speech_rows, write_clips
from tests.whisper_checkpoints import make_whisper

TEXTS = ["bir, güzel!", "için ışık", "değil"]


@pytest.fixture(scope="module")
def whisper(checkpoints: Path) -> Path:
    return make_whisper(checkpoints)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three clips of 0.6 s and more."""
    return write_clips(tmp_path_factory.mktemp("clips"), TEXTS)


def options(model: Path, data: Path, *others: str) -> list[str]:
    """Arguments of a training that evaluates on the clips that it trains on."""
    same = ["--dataset_name", str(data), "--eval_dataset_name", str(data), "--eval_percent", "1"]
    return ["--model_name", str(model), *same, "--output_dir", "out", "--batch_s", "2", *others]


def weights_after(folder: Path, step: int, file: str = "model.safetensors") -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = load_file(folder / f"out/checkpoint-{step}" / file)
    return weights


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, whisper: Path, manifest: Path) -> Path:
    """The working directory of a training that learns its clips by heart."""
    folder = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as monkeypatch:
        run(
            folder,
            monkeypatch,
            *options(whisper, manifest, "--language", "tr", "--max_steps", "60", "--eval_steps", "30"),
            *("--learning_rate", "3e-3", "--warmup_steps", "5", "--condense_silence", "0.5", "--batch_s", "9"),
        )
    return folder


class TestOverfitting:
    def test_generation_writes_the_texts(self, work: Path) -> None:
        record = json.loads((work / "out/training.json").read_text(encoding="utf-8"))
        assert record["metrics"]["eval_wer"] == 0
        assert (record["arguments"]["language"], record["arguments"]["condense_silence"]) == ("tr", 0.5)

    def test_tensorboard_shows_loss_and_error_rates(self, work: Path) -> None:
        found = scalars(work / "runs/out")
        assert {"train/loss", "train/learning_rate", "eval/loss", "eval/wer", "eval/cer"} <= found.keys()
        assert "eval/transcripts/text_summary" in found
        assert found["train/loss"][-1] < 0.1 * found["train/loss"][0]

    def test_the_service_recognizes_the_clips(self, work: Path, manifest: Path) -> None:
        model = open_model(work / "out")
        recognizer = load_recognizer(model, REFERENCE, threads=1)
        warm_up(recognizer, model.artifact)
        samples = load_speech(str(manifest))["train"].samples(0, recognizer.rate_hz)
        (output,) = compute_windows(recognizer, [Window(samples, 0)], Options(language="tr"))
        assert output.text == TEXTS[0]

    def test_the_result_has_the_settings_of_the_original(self, work: Path, whisper: Path) -> None:
        for name in ("generation_config.json", "preprocessor_config.json", "tokenizer.json", "vocab.json"):
            assert (work / "out" / name).read_bytes() == (whisper / name).read_bytes()
            assert (work / "out/checkpoint-60" / name).is_file()
        before, after = (read_settings(open_artifact(folder)) for folder in (whisper, work / "out"))
        assert before == after

    def test_transformers_reads_the_result(self, work: Path) -> None:
        _, report = WhisperForConditionalGeneration.from_pretrained(work / "out", output_loading_info=True)
        assert not any(report.values())


def test_the_best_checkpoint_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whisper: Path, manifest: Path
) -> None:
    rates = iter([0.5, 0.2, 0.4, 0.2])
    monkeypatch.setattr(
        "scripts.training.whisper_trainer.TextErrorRates.__call__", lambda *_: {"wer": next(rates), "cer": 0.0}
    )
    arguments = options(whisper, manifest, "--language", "tr", "--max_steps", "5", "--eval_steps", "2")
    run(tmp_path, monkeypatch, *arguments, "--condense_silence", "1")
    assert [log["step"] for log in state_of(tmp_path / "out")["log_history"] if "eval_wer" in log] == [2, 4, 5]
    kept = load_file(tmp_path / "out/model.safetensors")
    assert sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*")) == ["checkpoint-4", "checkpoint-5"]
    best = weights_after(tmp_path, 4)
    assert all(torch.equal(kept[name], best[name]) for name in best)


def test_an_interrupted_training_ends_with_the_same_weights(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    whisper: Path,
    manifest: Path,
) -> None:
    arguments = options(whisper, manifest, "--language", "tr", "--max_steps", "7", "--eval_steps", "2", "--dropout")
    arguments += ["0.1", "--spec_augment", "--condense_silence", "0.5", "--learning_rate", "1e-3", "--join", "0.5"]
    run(tmp_path / "whole", monkeypatch, *arguments)

    end_of_step = EvaluateAtEnd.on_step_end

    def interrupt(
        callback: EvaluateAtEnd, args: TrainingArguments, state: TrainerState, control: TrainerControl, **more: Any
    ) -> TrainerControl:
        if state.global_step == 6:
            raise KeyboardInterrupt
        return end_of_step(callback, args, state, control, **more)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(EvaluateAtEnd, "on_step_end", interrupt)
        run(tmp_path / "parts", monkeypatch, *arguments)
    run(tmp_path / "parts", monkeypatch, *arguments)
    assert "Resuming from out/checkpoint-4" in capsys.readouterr().out
    whole, parts = (weights_after(tmp_path / name, 7) for name in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    original = load_file(whisper / "model.safetensors")
    assert not torch.equal(whole["model.decoder.layers.0.fc1.weight"], original["model.decoder.layers.0.fc1.weight"])


def test_a_frozen_encoder_stays_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whisper: Path, manifest: Path
) -> None:
    arguments = options(whisper, manifest, "--language", "tr", "--max_steps", "2", "--warmup_steps", "0")
    run(tmp_path, monkeypatch, *arguments, "--freeze_encoder", "--learning_rate", "1e-2")
    before, after = load_file(whisper / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert {name for name in before if name.startswith("model.encoder.")} <= same
    assert "model.decoder.layers.1.fc1.weight" not in same
    with pytest.raises(DataError, match="out has a training with --freeze_encoder True"):
        run(tmp_path, monkeypatch, *arguments)


def test_adapters_are_trained_resumed_and_merged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    whisper: Path,
    manifest: Path,
) -> None:
    arguments = options(whisper, manifest, "--language", "tr", "--eval_steps", "2", "--lora_rank", "4")
    arguments += ["--condense_silence", "1"]
    run(tmp_path, monkeypatch, *arguments, "--max_steps", "2")
    first = weights_after(tmp_path, 2, ADAPTERS)
    run(tmp_path, monkeypatch, *arguments, "--max_steps", "4")
    assert "Resuming from out/checkpoint-2" in capsys.readouterr().out

    adapters = tmp_path / "out/checkpoint-4"
    assert (adapters / "adapter_model.safetensors").stat().st_size < (whisper / "model.safetensors").stat().st_size / 5
    before, after = load_file(whisper / "model.safetensors"), load_file(tmp_path / "out/model.safetensors")
    assert after.keys() == before.keys()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert "model.encoder.layers.0.self_attn.q_proj.weight" in moved
    assert "model.decoder.embed_tokens.weight" not in moved
    assert any(not torch.equal(first[name], value) for name, value in weights_after(tmp_path, 4, ADAPTERS).items())
    best = state_of(tmp_path / "out")["best_model_checkpoint"]
    merged = PeftModel.from_pretrained(WhisperForConditionalGeneration.from_pretrained(whisper), tmp_path / best)
    for name, value in merged.merge_and_unload().state_dict().items():
        if name in after:
            torch.testing.assert_close(after[name], value)
    open_model(tmp_path / "out")

    (adapters / "adapter_model.safetensors").write_bytes(b"cut off")
    with pytest.raises(DataError, match=r"checkpoint-4 is incomplete: delete it .*--restart"):
        check_complete(adapters)


def test_adapters_of_the_decoder_alone(whisper: Path) -> None:
    model = WhisperObjective(whisper, WhisperOptions("tr", lora_rank=2, freeze_encoder=True)).model
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trained
    assert all(".decoder." in name and ".lora_" in name for name in trained)


@pytest.mark.parametrize(
    "variant",
    [
        {"multilingual": False},
        {"generation_config": False, "tokenizer_json": False, "float16": True},
        {"processor_of_transformers_5": True, "vocabulary_padding": 5, "tied": False, "mel_bins": 128},
    ],
    ids=["English only", "old files", "transformers 5"],
)
def test_shapes_of_checkpoints(
    checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manifest: Path, variant: dict[str, Any]
) -> None:
    folder = make_whisper(checkpoints, **variant)
    language = [] if variant.get("multilingual") is False else ["--language", "tr"]
    muon = ["--optimizer", "muon", "--augment", "--spec_augment", "--gradient_accumulation_steps", "2"]
    run(tmp_path, monkeypatch, *options(folder, manifest, "--max_steps", "1", *language, *muon))
    before, after = (read_settings(open_artifact(path)) for path in (folder, tmp_path / "out"))
    assert before == after
    open_model(tmp_path / "out")


class TestRefusals:
    def refused(self, work: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str) -> None:
        with pytest.raises(DataError, match=message):
            run(work, monkeypatch, *arguments, "--max_steps", "1")
        assert not (work / "out").exists()

    def test_a_multilingual_model_needs_a_language(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whisper: Path, manifest: Path
    ) -> None:
        self.refused(
            tmp_path,
            monkeypatch,
            options(whisper, manifest),
            "a multilingual model needs the --language .*: de, en, es",
        )
        arguments = options(whisper, manifest, "--language", "xx")
        self.refused(tmp_path, monkeypatch, arguments, "does not know the language 'xx'; it knows de, en, es")

    def test_an_english_model_has_no_other_language(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: Path, manifest: Path
    ) -> None:
        arguments = options(make_whisper(checkpoints, multilingual=False), manifest, "--language", "tr")
        self.refused(tmp_path, monkeypatch, arguments, "--language is tr, but the model is English-only")

    def test_a_window_is_the_longest_clip(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whisper: Path, manifest: Path
    ) -> None:
        arguments = options(whisper, manifest, "--language", "tr", "--max_duration_s", "31")
        self.refused(tmp_path, monkeypatch, arguments, "--max_duration_s is 31, but the model's windows are 30 s long")

    def test_clips_that_can_get_too_long(self, whisper: Path) -> None:
        objective, rows = WhisperObjective(whisper, WhisperOptions("tr")), speech_rows(["bir", "ve"], [28.0, 1.0])
        assert objective.dataset(rows).longest_s == 28.0
        with pytest.raises(DataError, match=r"can make clips of 32\.2 s, .* 30 s long: lower --max_duration_s"):
            objective.dataset(rows, AugmentationPolicy())
        assert objective.dataset(rows, groups=[(0, 1)]).longest_s == pytest.approx(29.0 + 2 * MEAN_PAUSE_S)

    def test_options_of_ctc(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whisper: Path, manifest: Path
    ) -> None:
        arguments = options(whisper, manifest, "--language", "tr", "--freeze_feature_encoder")
        self.refused(tmp_path, monkeypatch, arguments, "of a family that has no --freeze_feature_encoder")
        arguments = options(Path("tr-small"), manifest, "--lora_rank", "4")
        self.refused(tmp_path, monkeypatch, arguments, "tr-small is of a family that has no --lora_rank")

    def test_missing_weights(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whisper: Path, manifest: Path
    ) -> None:
        folder = shutil.copytree(whisper, tmp_path / "weightless")
        (folder / "model.safetensors").unlink()
        arguments = options(folder, manifest, "--language", "tr")
        self.refused(tmp_path, monkeypatch, arguments, "weightless cannot be trained: there are no PyTorch weights")

    @pytest.mark.parametrize("arguments", [("--condense_silence", "1.5"), ("--lora_rank", "-1")])
    def test_numbers_out_of_range(self, arguments: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit):
            train.parse_arguments(["--model_name", "m", "--dataset_name", "d", "--output_dir", "o", *arguments])
        assert f"{arguments[0]} is " in capsys.readouterr().err


def test_texts_that_do_not_fit_are_skipped_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], checkpoints: Path
) -> None:
    model = make_whisper(checkpoints, max_target_positions=32)
    data = write_clips(tmp_path, ["bir", "y" * 29, "y" * 28, "...", "ışık"])
    run(tmp_path, monkeypatch, *options(model, data, "--language", "tr", "--max_steps", "1", "--max_duration_s", "1.3"))
    printed = capsys.readouterr().out
    assert "Skipped 3 of 5 clips: " in printed
    for reason in ("1 not of 0.5 to 1.3 s", "1 without words", "1 with more than 28 tokens, which the decoder does"):
        assert reason in printed
    assert "Training on 2 clips" in printed
