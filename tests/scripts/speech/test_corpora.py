"""Folders in the layouts of well-known corpora."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from scripts.speech.data import DataError, SpeechRows, load_speech
from tests.checkpoints import RATE_HZ, babbling

TEXTS = ["merhaba dünya", "üç kitap aldım", "ığdıra gittik"]
DURATIONS_S = [0.5, 1.25, 0.75]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use a folder of the test for the cache of `datasets`."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def audio(index: int) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return babbling(DURATIONS_S[index], seed=index)


def write(path: Path, index: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    soundfile.write(buffer, audio(index), RATE_HZ, format=path.suffix[1:].upper())
    path.write_bytes(buffer.getvalue())


def check(rows: SpeechRows, indices: list[int]) -> None:
    """Check that the rows are those of `indices`, with their audio and text. MP3 changes the samples."""
    assert rows.texts() == [TEXTS[index] for index in indices]
    assert rows.durations_s == pytest.approx([DURATIONS_S[index] for index in indices], abs=0.1)
    for row, index in enumerate(indices):
        samples = rows.samples(row, RATE_HZ)
        assert len(samples) == pytest.approx(len(audio(index)), abs=0.1 * RATE_HZ)
        if not rows.name(row).endswith(".mp3"):
            np.testing.assert_allclose(samples, audio(index), atol=2 / 32_768)


class TestCommonVoice:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for index in range(3):
            write(tmp_path / "tr/clips" / f"common_voice_tr_{index}.mp3", index)
        for name, indices in (("train", [0]), ("dev", [1]), ("test", [2]), ("other", [0, 2]), ("validated", [0, 1, 2])):
            self.write_table(tmp_path / "tr" / f"{name}.tsv", indices)
        return tmp_path / "tr"

    @staticmethod
    def write_table(path: Path, indices: list[int]) -> None:
        lines = ["client_id\tpath\tsentence\tup_votes\tage\taccents"]
        lines += [f"ab{i}\tcommon_voice_tr_{i}.mp3\t{TEXTS[i]}\t2\t\t" for i in indices]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def test_train_dev_and_test(self, folder: Path) -> None:
        splits = load_speech(str(folder))
        assert {split: len(rows) for split, rows in splits.items()} == {"train": 1, "validation": 1, "test": 1}
        for split, index in (("train", 0), ("validation", 1), ("test", 2)):
            check(splits[split], [index])
        assert splits["test"].name(0) == "clips/common_voice_tr_2.mp3"

    def test_another_table_by_its_name(self, folder: Path) -> None:
        check(load_speech(str(folder), "other")["other"], [0, 2])
        with pytest.raises(DataError, match="no split 'reported'; there are train, validation, test"):
            load_speech(str(folder), "reported")

    def test_one_table(self, folder: Path) -> None:
        check(load_speech(str(folder / "test.tsv"))["train"], [2])

    def test_without_splits_it_reads_validated_tsv(self, folder: Path) -> None:
        for name in ("train", "dev", "test"):
            (folder / f"{name}.tsv").unlink()
        check(load_speech(str(folder))["validated"], [0, 1, 2])

    def test_durations_are_taken_from_their_table(self, folder: Path) -> None:
        lines = [f"common_voice_tr_{index}.mp3\t{1000 * DURATIONS_S[index] + 25:g}" for index in range(3)]
        table = folder / "clip_durations.tsv"
        table.write_text("\n".join(["clip\tduration[ms]", *lines]), encoding="utf-8")
        rows = load_speech(str(folder), "test")["test"]
        assert rows.durations_s == [DURATIONS_S[2] + 0.025]
        check(rows, [2])
        table.write_text("clip\tlength\na\t1\n", encoding="utf-8")
        with pytest.raises(DataError, match=r"clip_durations\.tsv is not a table of clips and their durations"):
            load_speech(str(folder))

    def test_a_quotation_mark_is_a_letter_like_others(self, folder: Path) -> None:
        table = folder / "test.tsv"
        table.write_text(table.read_text(encoding="utf-8").replace(TEXTS[2], '"Ne?'), encoding="utf-8")
        assert load_speech(str(folder), "test")["test"].texts() == ['"Ne?']

    def test_a_clip_that_is_not_there_is_named(self, folder: Path) -> None:
        (folder / "clips/common_voice_tr_1.mp3").unlink()
        with pytest.raises(
            DataError, match=r"line 2 of .*dev\.tsv names clips/common_voice_tr_1\.mp3, which does not exist"
        ):
            load_speech(str(folder))


class TestLibriSpeech:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        for split, index in (("train-clean-100", 0), ("dev-other", 1), ("test-clean", 2)):
            chapter = tmp_path / "LibriSpeech" / split / "84" / "121123"
            write(chapter / "84-121123-0000.flac", index)
            (chapter / "84-121123.trans.txt").write_text(f"84-121123-0000 {TEXTS[index]}\n", encoding="utf-8")
        return tmp_path / "LibriSpeech"

    def test_splits_follow_from_folder_names(self, folder: Path) -> None:
        splits = load_speech(str(folder))
        assert len(splits) == 3
        for split, index in (("train", 0), ("validation", 1), ("test", 2)):
            check(splits[split], [index])

    def test_one_of_them(self, folder: Path) -> None:
        (rows,) = load_speech(str(folder / "test-clean"), "test").values()
        check(rows, [2])
        assert rows.name(0) == "84/121123/84-121123-0000.flac"

    def test_a_clip_that_is_not_there_is_named(self, folder: Path) -> None:
        (folder / "dev-other/84/121123/84-121123-0000.flac").unlink()
        with pytest.raises(
            DataError, match=r"line 1 of .*84-121123\.trans\.txt names 84-121123-0000, which does not exist"
        ):
            load_speech(str(folder))


class TestKaldi:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        folder = tmp_path / "data" / "train"
        for index in range(3):
            write(folder / "wav" / f"{index}.wav", index)
        paths = [f"utt{index} wav/{index}.wav" for index in (0, 1)] + [f"utt2 {folder}/wav/2.wav"]
        (folder / "wav.scp").write_text("\n".join(paths), encoding="utf-8")
        (folder / "text").write_text("".join(f"utt{i}\t{text}\n" for i, text in enumerate(TEXTS)), encoding="utf-8")
        return folder

    def cut(self, folder: Path, *lines: str) -> None:
        """Concatenate the clips to one recording, with segments."""
        soundfile.write(folder / "wav/all.wav", np.concatenate([audio(index) for index in range(3)]), RATE_HZ)
        (folder / "wav.scp").write_text("call wav/all.wav\n", encoding="utf-8")
        (folder / "segments").write_text("\n".join(lines), encoding="utf-8")

    def test_a_file_for_each_text(self, folder: Path) -> None:
        check(load_speech(str(folder))["train"], [0, 1, 2])

    def test_splits_follow_from_folder_names(self, folder: Path) -> None:
        folder.rename(folder.with_name("test"))
        (folder.with_name("test") / "wav.scp").write_text("utt0 wav/0.wav\n", encoding="utf-8")
        (folder.with_name("test") / "text").write_text(f"utt0 {TEXTS[0]}\n", encoding="utf-8")
        check(load_speech(str(folder.parent))["test"], [0])

    def test_paths_may_be_relative_to_the_current_folder(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(folder.parents[1])
        (folder / "wav.scp").write_text(
            "\n".join(f"utt{index} data/train/wav/{index}.wav" for index in range(3)), encoding="utf-8"
        )
        check(load_speech(str(folder))["train"], [0, 1, 2])

    def test_segments(self, folder: Path) -> None:
        self.cut(folder, "utt0 call 0 0.5", "utt1 call 0.50 1.75", "utt2 call 1.75 -1")
        check(load_speech(str(folder))["train"], [0, 1, 2])

    def test_without_text_it_reads_audio_only(self, folder: Path) -> None:
        (folder / "text").unlink()
        rows = load_speech(str(folder), with_text=False)["train"]
        assert rows.durations_s == DURATIONS_S

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("wav.scp", "utt0 sph2pipe -f wav 0.sph |\n", "line 1 of .*wav.scp is a command, and commands are not run"),
            ("wav.scp", "utt0 wav/9.wav\n", "line 1 of .*text names .*9.wav, which does not exist"),
            ("wav.scp", "utt9 wav/0.wav\n", "line 1 of .*text is the text of utt0, which is not in .*wav.scp"),
            ("segments", "utt0 call\n", "line 1 of .*segments must have a name, a recording, and start and end"),
            ("segments", "utt0 other 0 1\n", "line 1 of .*segments is a segment of other, which is not in wav.scp"),
            ("segments", "utt0 call 0.5 0.25\n", "duration of line 1 of .*text is not a number of seconds: -0.25"),
            (
                "segments",
                "utt0 call 2 9\n",
                r"all\.wav \(line 1 of .*text\): the segment from 2 s to 9 s is not inside",
            ),
            ("text", None, "there is no text in the folder of .*wav.scp"),
        ],
    )
    def test_unreadable_data_is_reported_in_one_line(
        self, folder: Path, file: str, content: str | None, message: str
    ) -> None:
        (folder / "text").write_text(f"utt0 {TEXTS[0]}\n", encoding="utf-8")
        if file == "segments":
            self.cut(folder)
        if content is None:
            (folder / file).unlink()
        else:
            (folder / file).write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=message) as error:
            load_speech(str(folder))
        assert "\n" not in str(error.value)
