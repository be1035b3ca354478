import math
from collections import Counter
from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
from datasets import Dataset
from torch.utils.data import DataLoader

from scripts.speech.data import DataError, SpeechRows
from scripts.speech.text import TURKISH_ALPHABET
from scripts.training.augment import AugmentationPolicy
from scripts.training.batches import (
    MEAN_PAUSE_S,
    PADDED_TO_S,
    Collator,
    LengthBatchSampler,
    SpeechDataset,
    in_case_of,
    join_rows,
    message_of,
)
from scripts.training.checkpoints import new_tokenizer
from tests.checkpoints import RATE_HZ
from tests.speech import FEATURES, NORMALIZER, speech_rows


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])  # it imports PyTorch anew
def test_a_broken_clip_is_one_line_with_its_row(workers: int) -> None:
    """Also for errors from a worker process, which contain a traceback."""
    rows = speech_rows(["bir", "iki"])
    cells = [rows.rows[0]["audio"], {"path": "broken.wav", "bytes": b"broken"}]
    broken = SpeechRows(
        Dataset.from_dict({"audio": cells, "text": ["bir", "iki"]}), "audio", "text", [0.5, 0.6], places=["a", "line 2"]
    )
    dataset = SpeechDataset(broken, NORMALIZER, new_tokenizer(TURKISH_ALPHABET), FEATURES)
    # The test process has threads of many libraries, which a fork would leave in an undefined state.
    start = "spawn" if workers else None
    loader = DataLoader(
        dataset, batch_size=2, num_workers=workers, collate_fn=Collator(FEATURES), multiprocessing_context=start
    )
    with pytest.raises(DataError) as error:
        list(loader)
    message = message_of(error.value)
    assert message.startswith("broken.wav (line 2) cannot be read: the file is not audio")
    assert "\n" not in message


def padded(duration_s: float) -> float:
    return float(math.ceil(duration_s / PADDED_TO_S) * PADDED_TO_S)


class TestLengthBatchSampler:
    DURATIONS_S: ClassVar[list[float]] = [
        *(0.5, 15.0),
        *np.random.default_rng(0).gamma(3.0, 1.5, 400).clip(0.5, 15.0).round(2).tolist(),
    ]
    BATCH_S = 30.0

    @pytest.fixture
    def sampler(self) -> LengthBatchSampler:
        return LengthBatchSampler(self.DURATIONS_S, self.BATCH_S, seed=3)

    def epoch(self, sampler: LengthBatchSampler, number: int) -> list[list[int]]:
        sampler.set_epoch(number)
        return list(sampler)

    def test_every_clip_once_an_epoch(self, sampler: LengthBatchSampler) -> None:
        for number in range(3):
            clips = Counter(index for batch in self.epoch(sampler, number) for index in batch)
            assert clips == Counter(range(len(self.DURATIONS_S)))

    @pytest.mark.parametrize("durations_s", [DURATIONS_S, [1.0] * 40 + [14.0] * 3, [20.0, 1.0], [0.7]])
    def test_no_batch_is_longer_than_asked_with_its_padding(self, durations_s: list[float]) -> None:
        sampler = LengthBatchSampler(durations_s, 15.0, seed=0)
        for number in range(3):
            for batch in self.epoch(sampler, number):
                padded_s = len(batch) * max(padded(durations_s[index]) for index in batch)
                assert padded_s <= 15.0 or len(batch) == 1

    def test_batches_are_well_filled(self, sampler: LengthBatchSampler) -> None:
        batches = self.epoch(sampler, 0)
        padded_s = sum(len(batch) * max(padded(self.DURATIONS_S[index]) for index in batch) for batch in batches)
        assert sum(self.DURATIONS_S) > 0.8 * padded_s, "little padding"
        assert padded_s > 0.75 * self.BATCH_S * len(batches), "few batches"

    def test_every_epoch_has_as_many_batches_in_another_order(self, sampler: LengthBatchSampler) -> None:
        epochs = [self.epoch(sampler, number) for number in range(4)]
        assert {len(batches) for batches in epochs} == {len(sampler)}
        assert all(first != second for first, second in pairwise(epochs))
        together = [{frozenset(batch) for batch in batches} for batches in epochs]
        assert all(len(first & second) < len(first) / 2 for first, second in pairwise(together)), "batches differ too"

    def test_the_seed_decides(self) -> None:
        first, same, other = (list(LengthBatchSampler(self.DURATIONS_S, self.BATCH_S, seed)) for seed in (1, 1, 2))
        assert first == same != other

    def test_without_shuffling_the_order_is_that_of_length(self) -> None:
        sampler = LengthBatchSampler(self.DURATIONS_S, self.BATCH_S, seed=1, shuffle=False)
        lengths = [padded(self.DURATIONS_S[index]) for batch in sampler for index in batch]
        assert lengths == sorted(lengths)
        assert self.epoch(sampler, 0) == self.epoch(sampler, 1)


class TestSpeechDataset:
    ROWS = speech_rows(["Bir, İKİ!", "3"])

    def test_an_item_is_normalized_audio_and_letters(self) -> None:
        tokenizer = new_tokenizer(TURKISH_ALPHABET)
        item = SpeechDataset(self.ROWS, NORMALIZER, tokenizer, FEATURES)[0]
        assert tokenizer.decode(item["labels"], group_tokens=False) == "bir iki"
        assert item["input_values"].shape == (len(self.ROWS.samples(0, RATE_HZ)),)
        assert item["input_values"].mean() == pytest.approx(0, abs=1e-5)
        assert item["input_values"].std() == pytest.approx(1, abs=1e-3)

    def test_augmented_items_depend_on_the_seed_only(self) -> None:
        tokenizer = new_tokenizer(TURKISH_ALPHABET)
        policy = AugmentationPolicy(noise=1.0, no_speech=0.0)
        first, same, other = (
            SpeechDataset(self.ROWS, NORMALIZER, tokenizer, FEATURES, policy, seed)[1] for seed in (1, 1, 2)
        )
        np.testing.assert_array_equal(first["input_values"], same["input_values"])
        assert not np.array_equal(first["input_values"], other["input_values"])
        assert tokenizer.decode(first["labels"], group_tokens=False) == "üç"

    def test_audio_without_speech_has_no_letters(self) -> None:
        policy = AugmentationPolicy(no_speech=1.0)
        item = SpeechDataset(self.ROWS, NORMALIZER, new_tokenizer(TURKISH_ALPHABET), FEATURES, policy)[0]
        assert item["labels"] == []
        assert np.isfinite(item["input_values"]).all()


@pytest.mark.parametrize(
    ("letters", "text", "expected"),
    [
        ("ABC", "abba", "ABBA"),
        ("abc", "abba", "abba"),
        ("ABCabc", "abba", "abba"),
        ("AIİ", "iaı", "İAI"),
        ("AI", "ia", "IA"),
    ],
)
def test_texts_take_the_case_of_the_tokenizer(letters: str, text: str, expected: str) -> None:
    assert in_case_of(new_tokenizer(letters), text) == expected


class TestJoinedRows:
    DURATIONS_S: ClassVar[list[float]] = np.random.default_rng(1).uniform(0.5, 5.0, 500).round(2).tolist()
    MAX_S = 15.0

    def length_s(self, group: tuple[int, ...]) -> float:
        return sum(self.DURATIONS_S[row] for row in group) + MEAN_PAUSE_S * (len(group) - 1)

    def test_every_row_is_used_once(self) -> None:
        groups = join_rows(self.DURATIONS_S, 0.5, self.MAX_S, seed=0)
        assert Counter(row for group in groups for row in group) == Counter(range(500))

    def test_no_joined_clip_is_too_long_and_some_are_nearly_of_maximum_length(self) -> None:
        lengths_s = [self.length_s(group) for group in join_rows(self.DURATIONS_S, 1.0, self.MAX_S, seed=0)]
        assert 0.8 * self.MAX_S < max(lengths_s) <= self.MAX_S

    @pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0.0, 0.0), (0.3, 0.2, 0.4), (1.0, 0.6, 1.0)])
    def test_the_share(self, share: float, low: float, high: float) -> None:
        groups = join_rows(self.DURATIONS_S, share, self.MAX_S, seed=0)
        assert low <= np.mean([len(group) > 1 for group in groups]) <= high

    def test_the_seed_decides(self) -> None:
        first, again, other = (join_rows(self.DURATIONS_S, 0.5, self.MAX_S, seed) for seed in (1, 1, 2))
        assert first == again != other

    def test_a_joined_clip_has_the_audio_and_the_words_of_its_rows(self) -> None:
        tokenizer = new_tokenizer(TURKISH_ALPHABET)
        rows = speech_rows(["Bir", "iki", "üç"], [0.5, 0.6, 0.7])
        dataset = SpeechDataset(rows, NORMALIZER, tokenizer, FEATURES, groups=[(2, 0), (1,)])
        assert len(dataset) == 2
        assert dataset.durations_s == pytest.approx([1.2 + MEAN_PAUSE_S, 0.6])
        joined, single = dataset[0], dataset[1]
        assert tokenizer.decode(joined["labels"], group_tokens=False) == "üç bir"
        assert tokenizer.decode(single["labels"], group_tokens=False) == "iki"
        assert 1.2 * RATE_HZ <= len(joined["input_values"]) <= (1.2 + 2 * MEAN_PAUSE_S) * RATE_HZ
        np.testing.assert_array_equal(joined["input_values"], dataset[0]["input_values"])
