import json
import os
import re
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Audio, Dataset
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]
from transformers import Wav2Vec2Config, Wav2Vec2ForCTC
from transformers.trainer_utils import EvalPrediction

from app.artifacts import open_artifact
from app.models import warm_up
from scripts import train
from scripts.speech.data import DataError
from scripts.speech.text import TURKISH_ALPHABET
from scripts.train import parse_arguments
from scripts.training import checkpoints as configurations
from scripts.training.batches import IGNORED_LABEL, Collator, LengthBatchSampler
from scripts.training.checkpoints import new_tokenizer
from scripts.training.ctc_objective import usable
from scripts.training.trainer import CtcTrainer, Scorer, argmax_logits
from tests.checkpoints import RATE_HZ, babbling, built
from tests.recognizers import ctc_recognizer, ctc_settings
from tests.speech import FEATURES, NORMALIZER, speech_rows, wav

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["bir", "iki", "üç", "dört", "beş", "altı", "yedi", "sekiz", "dokuz", "on", "yirmi", "otuz"]


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A local folder in the hub's format: twelve clips of 0.5 s or slightly more."""
    folder = tmp_path_factory.mktemp("numbers")
    (folder / "data").mkdir()
    cells = [{"path": f"{index}.wav", "bytes": wav(index, 0.5 + 0.02 * index)} for index in range(len(WORDS))]
    rows = Dataset.from_dict({"audio": cells, "transcription": [f"{word.capitalize()}." for word in WORDS]})
    rows = rows.cast_column("audio", Audio(sampling_rate=RATE_HZ, decode=False))
    rows.to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder


def test_usable_rows() -> None:
    texts = ["iyi", "kısa", "uzun", "...", None, "a" * 31, "a" * 30, "1.234.567"]
    rows = speech_rows(texts, [1.0, 0.4, 9.1, 1.0, 1.0, 1.0, 1.0, 1.0])
    # Too short, too long, no letters, no text, too many letters, and too many letters after the number is spelled.
    assert usable(rows, NORMALIZER, min_s=0.5, max_s=9.0) == [0, 6]


@pytest.mark.parametrize("option", ["--train_percent", "--eval_percent"])
@pytest.mark.parametrize("value", ["0", "-0.1", "1.5", "10"])
def test_a_share_is_a_share(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["--model_name", "m", "--dataset_name", "d", "--output_dir", "o", option, value])
    assert f"{option} is a share" in capsys.readouterr().err


TINY: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "conv_dim": [16] * 7,
    "num_conv_pos_embeddings": 16,
}


def tiny_config(vocab_size: int) -> Wav2Vec2Config:
    return Wav2Vec2Config(
        **(configurations.SMALL_CONFIGS["tr-small"] | TINY),
        vocab_size=vocab_size,
        pad_token_id=0,
        ctc_loss_reduction="sum",
        ctc_zero_infinity=True,
    )


class TestBatch:
    def items(self, *labels: list[int]) -> list[dict[str, Any]]:
        return [
            {"input_values": babbling(0.5 + 0.1 * number, number), "labels": letters}
            for number, letters in enumerate(labels)
        ]

    def test_it_is_padded_with_its_masks(self) -> None:
        batch = Collator(FEATURES)(self.items([3, 4, 5], [3]))
        assert batch["input_values"].shape == (2, 16_000), "a multiple of half a second"
        assert batch["attention_mask"].sum(dim=1).tolist() == [8_000, 9_600]
        assert not batch["input_values"][0, 8_000:].any()
        assert not batch["input_values"][1, 9_600:].any()
        assert batch["labels"].tolist() == [[3, 4, 5], [3, IGNORED_LABEL, IGNORED_LABEL]]

    @pytest.mark.parametrize("labels", [([3, 4, 5], [6]), ([3, 3], []), ([], [])])
    def test_its_loss_is_that_of_all_clips_per_letter(self, labels: tuple[list[int], ...]) -> None:
        torch.manual_seed(0)
        model = Wav2Vec2ForCTC(tiny_config(10)).eval()
        batch = Collator(FEATURES)(self.items(*labels))
        loss, outputs = CtcTrainer.compute_loss(object.__new__(CtcTrainer), model, batch, return_outputs=True)
        frames = [24, 29]  # (samples - 400) // 320 + 1
        by_hand = sum(
            torch.nn.functional.ctc_loss(
                outputs["logits"][row, : frames[row]].log_softmax(-1)[:, None],
                torch.tensor([letters], dtype=torch.long).reshape(1, -1),
                torch.tensor([frames[row]]),
                torch.tensor([len(letters)]),
                reduction="sum",
            )
            for row, letters in enumerate(labels)
        )
        assert isinstance(by_hand, torch.Tensor)
        assert loss.item() == pytest.approx(by_hand.item() / max(1, sum(map(len, labels))), rel=1e-4)


def test_scorer_reads_the_greedy_path() -> None:
    tokenizer = new_tokenizer("abc")
    vocabulary = tokenizer.get_vocab()
    a, b, c, space, blank = (vocabulary[token] for token in (*"abc|", "[PAD]"))
    written = []
    scorer = Scorer(tokenizer, Namespace(add_text=lambda *arguments: written.append(arguments)))  # type: ignore[arg-type]
    predictions = np.array([[a, a, blank, a, space, b, IGNORED_LABEL], [c, c, blank, blank, space, b, blank]])
    labels = np.array([[a, a, space, b], [a, space, b, IGNORED_LABEL]])
    assert scorer(EvalPrediction(predictions, labels)) == {"wer": 1 / 4, "cer": 1 / 7}
    ((tag, text, step),) = written
    assert (tag, step) == ("eval/transcripts", 0)
    assert "- aa b\n- **aa b**" in text
    assert "- a b\n- **c b**" in text


def test_only_token_ids_are_kept_for_scoring() -> None:
    logits = torch.tensor([[[0.0, 2.0, 1.0], [3.0, 2.0, 1.0]]])
    for given in (logits, (logits, None)):
        assert argmax_logits(given, torch.empty(0)).tolist() == [[1, 0]]


# Old config files have this option. transformers still accepts it, with a deprecation warning.
old_config = pytest.mark.filterwarnings(
    "ignore:Passing `gradient_checkpointing` to a config initialization:UserWarning"
)


def run(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """Train in this process, in a new working directory."""
    folder.mkdir(exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", folder / "cache")
    train.main([*arguments, "--num_workers", "0", "--precision", "fp32"])


def scalars(folder: Path) -> dict[str, list[float]]:
    """Tag -> values of all event files of a TensorBoard run, and "text" tags."""
    found: dict[str, list[float]] = {}
    for file in sorted(folder.glob("events.out.tfevents.*")):
        events = EventAccumulator(str(file))
        events.Reload()
        for tag in events.Tags()["scalars"]:
            found.setdefault(tag, []).extend(event.value for event in events.Scalars(tag))
        for tag in events.Tags()["tensors"]:
            found.setdefault(tag, [])
    return found


def state_of(checkpoint: Path) -> dict[str, Any]:
    (last,) = sorted(checkpoint.glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))[-1:]
    state: dict[str, Any] = json.loads((last / "trainer_state.json").read_text(encoding="utf-8"))
    return state


@pytest.fixture(scope="module")
def command(checkpoints: Path, parquet: Path) -> list[str]:
    return [
        *("--model_name", str(built("pretrained_like", checkpoints)), "--dataset_name", str(parquet)),
        *("--train_percent", "0.5", "--eval_percent", "0.2", "--epochs", "1", "--output_dir", "models/checkpoint"),
    ]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def printed(command: list[str], work: Path) -> str:
    environment = os.environ | {"HF_HOME": str(work / "hf"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, str(ROOT / "scripts/train.py"), *command],
        cwd=work,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-2_000:]
    return result.stdout


class TestCommand:
    """The command of the README, run once as a child process, on an encoder like facebook/wav2vec2-base."""

    def test_it_prints_what_it_does_and_its_results(self, printed: str) -> None:
        assert "Audio from column 'audio', text from column 'transcription'" in printed
        assert re.search(r"Training on 6 clips \(0\.00 hours\), evaluating on 2", printed)
        assert "New weights, with random values: lm_head.bias, lm_head.weight\n" in printed
        assert "tensorboard --logdir runs" in printed
        assert re.search(r"WER [\d.]+%, CER [\d.]+%: models/checkpoint\n", printed)

    def test_the_checkpoint_can_be_served(self, printed: str, work: Path) -> None:
        folder = work / "models/checkpoint"
        vocabulary = ctc_settings(folder).vocabulary
        assert vocabulary.tokens[vocabulary.blank] == "[PAD]"
        assert "|" in vocabulary.tokens
        warm_up(ctc_recognizer(folder, "pytorch"), open_artifact(folder))

    def test_the_new_alphabet_is_that_of_the_training_text(self, printed: str, work: Path) -> None:
        tokens = ctc_settings(work / "models/checkpoint").vocabulary.tokens
        letters = {token for token in tokens if len(token) == 1}
        assert {"|"} < letters <= {"|", *"".join(WORDS)}

    def test_tensorboard_shows_loss_error_rates_learning_rate_and_transcripts(self, printed: str, work: Path) -> None:
        found = scalars(work / "runs/checkpoint")
        assert {"train/loss", "train/learning_rate", "eval/loss", "eval/wer", "eval/cer"} <= found.keys()
        assert "eval/transcripts/text_summary" in found
        assert all(np.isfinite(values).all() for values in found.values())
        assert not (work / "models/checkpoint/runs").exists(), "all in one place"

    def test_training_json_has_arguments_and_metrics(self, printed: str, work: Path, command: list[str]) -> None:
        record = json.loads((work / "models/checkpoint/training.json").read_text(encoding="utf-8"))
        assert record["arguments"]["model_name"] == command[1]
        assert record["arguments"]["train_percent"] == 0.5
        assert record["arguments"]["learning_rate"] == 1e-4
        assert {"eval_wer", "eval_cer", "eval_loss"} <= record["metrics"].keys()

    @old_config
    def test_the_same_command_resumes(
        self,
        printed: str,
        work: Path,
        command: list[str],
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        steps = state_of(work / "models/checkpoint")["global_step"]
        assert steps > 0
        run(work, monkeypatch, *command)
        assert f"Resuming from models/checkpoint/checkpoint-{steps}" in capsys.readouterr().out
        assert state_of(work / "models/checkpoint")["global_step"] == steps, "the training was already complete"
        longer = [option if option != "1" else "3" for option in command]
        run(work, monkeypatch, *longer)
        state = state_of(work / "models/checkpoint")
        assert state["global_step"] == 3 * steps
        assert next(log["step"] for log in state["log_history"] if "loss" in log) == 1, "the log continues too"
        run(work, monkeypatch, *command, "--restart")
        assert "Starting" in capsys.readouterr().out
        assert state_of(work / "models/checkpoint")["global_step"] == steps, "nothing is left of the longer run"


# transformers compares the times of checkpoints, and a tiny model is saved more than once a second.
@pytest.mark.filterwarnings("ignore:mtime may not be reliable on this filesystem:UserWarning")
def test_muon_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], parquet: Path
) -> None:
    monkeypatch.setitem(configurations.SMALL_CONFIGS, "tr-small", configurations.SMALL_CONFIGS["tr-small"] | TINY)
    command = ("--model_name", "tr-small", "--dataset_name", str(parquet), "--output_dir", "out", "--optimizer", "muon")
    run(tmp_path, monkeypatch, *command, "--max_steps", "1")
    first = load_file(tmp_path / "out/model.safetensors")
    run(tmp_path, monkeypatch, *command, "--max_steps", "3")
    assert "Resuming from out/checkpoint-1" in capsys.readouterr().out
    second = load_file(tmp_path / "out/model.safetensors")
    assert state_of(tmp_path / "out")["global_step"] == 3
    moved = {name for name in first if not torch.equal(first[name], second[name])}
    assert {"lm_head.weight", "wav2vec2.encoder.layers.0.attention.q_proj.weight"} <= moved

    adamw = ["adamw" if option == "muon" else option for option in command]
    with pytest.raises(DataError, match=r"out has a training with --optimizer muon: .*--restart"):
        run(tmp_path, monkeypatch, *adamw, "--max_steps", "4")
    run(tmp_path, monkeypatch, *adamw, "--max_steps", "1", "--restart")
    assert state_of(tmp_path / "out")["global_step"] == 1


def test_a_missing_model_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty cannot be trained: "):
        run(tmp_path, monkeypatch, "--model_name", "empty", "--dataset_name", str(parquet), "--output_dir", "out")


@old_config
def test_an_encoder_whose_weights_are_missing_is_not_trained(
    checkpoints: Path, parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = shutil.copytree(built("pretrained_like", checkpoints), tmp_path / "wrapped")
    weights = torch.load(folder / "pytorch_model.bin")
    torch.save({f"module.{name}": value for name, value in weights.items()}, folder / "pytorch_model.bin")
    with pytest.raises(DataError, match=r"wrapped cannot be trained: .* needs wav2vec2\.encoder\.layer_norm\.bias"):
        run(tmp_path, monkeypatch, "--model_name", "wrapped", "--dataset_name", str(parquet), "--output_dir", "out")
    assert not (tmp_path / "out").exists()


def test_missing_evaluation_clips_are_reported_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parquet: Path
) -> None:
    with pytest.raises(DataError, match=r"0 clips are left to train on and 0 to evaluate on; .* 2 to 15 s"):
        run(
            tmp_path,
            monkeypatch,
            *("--model_name", "tr-small", "--dataset_name", str(parquet), "--output_dir", "out"),
            *("--min_duration_s", "2"),
        )
    assert not (tmp_path / "out").exists()


@old_config
def test_a_frozen_feature_encoder_stays_bit_for_bit(
    checkpoints: Path, parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = torch.load(built("pretrained_like", checkpoints) / "pytorch_model.bin", weights_only=True)
    changed = {}
    for freeze in ([], ["--freeze_feature_encoder"]):
        arguments = ["--model_name", str(built("pretrained_like", checkpoints)), "--dataset_name", str(parquet)]
        options = ["--warmup_steps", "1", "--max_steps", "3", "--learning_rate", "1e-2", *freeze]
        run(tmp_path / str(len(freeze)), monkeypatch, *arguments, "--output_dir", "out", *options)
        after = load_file(tmp_path / str(len(freeze)) / "out" / "model.safetensors")
        same = {name for name, value in after.items() if name in before and torch.equal(value, before[name])}
        encoder = {name for name in after if name.startswith("wav2vec2.feature_extractor.")}
        assert len(encoder) == 9  # seven convolutions and a group norm of two
        changed[bool(freeze)] = encoder - same
        assert "wav2vec2.encoder.layers.0.feed_forward.output_dense.weight" not in same
    assert changed[True] == set()
    assert len(changed[False]) == 9


def test_the_loss_falls_when_it_overfits_two_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    still = {"mask_time_prob": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0}
    monkeypatch.setitem(
        configurations.SMALL_CONFIGS, "tr-small", configurations.SMALL_CONFIGS["tr-small"] | TINY | still
    )
    epochs = []
    iterate = LengthBatchSampler.__iter__

    def recording(sampler: LengthBatchSampler) -> Iterator[list[int]]:
        if sampler.shuffle:
            epochs.append(sampler.epoch)
        return iterate(sampler)

    monkeypatch.setattr(LengthBatchSampler, "__iter__", recording)
    manifest = tmp_path / "manifest.jsonl"
    lines = []
    for index, text in enumerate(("on", "iki", "bir")):
        (tmp_path / f"{index}.wav").write_bytes(wav(index % 2, 0.6))
        lines.append(json.dumps({"audio": f"{index}.wav", "text": text, "duration": 0.6}))
    manifest.write_text("\n".join(lines), encoding="utf-8")
    run(
        tmp_path,
        monkeypatch,
        *("--model_name", "tr-small", "--dataset_name", str(manifest), "--output_dir", "out", "--epochs", "25"),
        *("--learning_rate", "5e-3", "--warmup_steps", "4", "--logging_steps", "1", "--eval_percent", "0.3"),
        *("--alphabet", TURKISH_ALPHABET),
    )
    losses = [log["loss"] for log in state_of(tmp_path / "out")["log_history"] if "loss" in log]
    assert len(losses) == 25
    assert np.mean(losses[-5:]) < 0.3 * losses[0]
    assert epochs == list(range(25)), "the sampler gets every epoch"
