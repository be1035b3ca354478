"""Batches for training: join rows to clips, augment and normalize them, pad them, and group them by length."""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, islice
from random import Random
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset as TorchDataset
from torch.utils.data import Sampler
from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor

from scripts.speech.data import DataError, SpeechRows
from scripts.speech.text import DOTTED_CAPITAL, TextNormalizer
from scripts.training.augment import MIN_VOICE_FACTOR, AugmentationPolicy, Augmenter, Samples

IGNORED_LABEL = -100
NO_TRANSCRIPT = -200
"""The only label of a clip of speech whose text is not known. Noise, in contrast, has no labels: its text is empty."""
MEAN_PAUSE_S = 0.4
"""Mean silence between joined rows. The silence is uniform between 0 and twice the mean."""
JOINED_LEVELS_DB = 12.0
"""Largest random attenuation of a joined row."""
PADDED_TO_S = 0.5
"""Batches are padded to multiples of this duration, so that few shapes occur: on a CPU, oneDNN compiles its kernels for
each new shape, which takes a large share of a step."""


def join_rows(durations_s: list[float], share: float, max_s: float, seed: int) -> list[tuple[int, ...]]:
    """Group rows into clips. Every row is in exactly one group.

    share: share of the groups that are filled with random rows up to a random length of at most `max_s` seconds, pauses
    included. With these, a model also learns changes of voice and level, and clips as long as a window.
    """
    random = Random(seed)
    order = list(range(len(durations_s)))
    random.shuffle(order)
    groups: list[tuple[int, ...]] = []
    while order:
        group = [order.pop()]
        length_s = durations_s[group[0]]
        target_s = random.uniform(max_s / 4, max_s) if random.random() < share else 0.0
        while order and length_s + MEAN_PAUSE_S + durations_s[order[-1]] <= target_s:
            group.append(order.pop())
            length_s += MEAN_PAUSE_S + durations_s[group[-1]]
        groups.append(tuple(group))
    return groups


class ClipDataset(TorchDataset[dict[str, Any]]):
    """Clips of one row or of several joined rows, augmented. A subclass makes the items.

    texts: the text of each row, as the model should write it. encode: text -> labels. groups: the rows of each clip,
    see `join_rows`; by default each row is a clip. Attributes: `labels` of each clip, and `durations_s`, its duration.
    """

    def __init__(
        self,
        rows: SpeechRows,
        texts: list[str],
        encode: Callable[[str], list[int]],
        rate_hz: int,
        policy: AugmentationPolicy | None = None,
        seed: int = 0,
        groups: list[tuple[int, ...]] | None = None,
    ) -> None:
        self.rows = rows
        self.groups = groups or [(index,) for index in range(len(rows))]
        self.labels = [encode(" ".join(texts[row] for row in group)) for group in self.groups]
        self.durations_s = [
            sum(rows.durations_s[row] for row in group) + MEAN_PAUSE_S * (len(group) - 1) for group in self.groups
        ]
        self.rate_hz = rate_hz
        self.policy = policy
        self.seed = seed
        self._augmenter: Augmenter | None = None

    def __len__(self) -> int:
        return len(self.groups)

    @property
    def longest_s(self) -> float:
        """Duration of the longest clip, with the longest pauses and the slowest voice that can be drawn."""
        durations_s = (
            duration_s + MEAN_PAUSE_S * (len(group) - 1)  # pauses are at most twice the mean
            for duration_s, group in zip(self.durations_s, self.groups, strict=True)
        )
        return max(durations_s) / (1.0 if self.policy is None else MIN_VOICE_FACTOR)

    def __getitem__(self, index: int) -> dict[str, Any]:
        samples = self._joined([self.rows.samples(row, self.rate_hz) for row in self.groups[index]], index)
        if self.policy is not None:
            augmenter = self._augmenter_of_this_worker()
            if augmenter.random.random() < self.policy.no_speech:
                return self.item(augmenter.no_speech(len(samples)), [])
            samples = augmenter(
                samples, lambda: self.rows.samples(int(augmenter.random.integers(len(self.rows))), self.rate_hz)
            )
        return self.item(samples, self.labels[index])

    def item(self, samples: Samples, labels: list[int]) -> dict[str, Any]:
        """What the collator takes. samples: at `rate_hz`, shape (samples,), float32."""
        raise NotImplementedError

    def _joined(self, parts: list[Samples], index: int) -> Samples:
        """Concatenate the parts at random levels, with random pauses between them."""
        if len(parts) == 1:
            return parts[0]
        random = np.random.default_rng((self.seed, index))
        pieces: list[Samples] = []
        for part in parts:
            pause = np.zeros(int(random.uniform(0.0, 2 * MEAN_PAUSE_S) * self.rate_hz), dtype=np.float32)
            pieces += [part * np.float32(10 ** (random.uniform(-JOINED_LEVELS_DB, 0.0) / 20)), pause]
        return np.concatenate(pieces[:-1])

    def _augmenter_of_this_worker(self) -> Augmenter:
        if self._augmenter is None:
            assert self.policy is not None
            worker = torch.utils.data.get_worker_info()
            seed = self.seed if worker is None else worker.seed % 2**32
            self._augmenter = Augmenter(self.policy, seed)
        return self._augmenter


class SpeechDataset(ClipDataset):
    """Clips for CTC: normalized `input_values` (samples,) float32 and `labels` (letters,) int.

    A clip has the label `NO_TRANSCRIPT` if a row in it has no letters.
    """

    def __init__(
        self,
        rows: SpeechRows,
        normalizer: TextNormalizer,
        tokenizer: Wav2Vec2CTCTokenizer,
        feature_extractor: Wav2Vec2FeatureExtractor,
        policy: AugmentationPolicy | None = None,
        seed: int = 0,
        groups: list[tuple[int, ...]] | None = None,
    ) -> None:
        self.feature_extractor = feature_extractor
        texts = [in_case_of(tokenizer, normalizer(text)) for text in rows.texts()]
        rate_hz = int(feature_extractor.sampling_rate)
        super().__init__(rows, texts, lambda text: list(tokenizer(text).input_ids), rate_hz, policy, seed, groups)
        for index, group in enumerate(self.groups):
            if not all(texts[row] for row in group):
                self.labels[index] = [NO_TRANSCRIPT]

    def item(self, samples: Samples, labels: list[int]) -> dict[str, Any]:
        """`input_values` and `labels`."""
        values: Samples = self.feature_extractor(samples, sampling_rate=self.rate_hz).input_values[0]
        return {"input_values": values, "labels": labels}


def message_of(error: DataError) -> str:
    """The message of a DataError, in one line. The text of an error from a worker process is a traceback that ends with
    the message."""
    last = str(error).splitlines()[-1]
    return last.partition(f"{DataError.__name__}: ")[2] or last


def in_case_of(tokenizer: Wav2Vec2CTCTokenizer, text: str) -> str:
    """Convert a normalized text, which is lower-case, to capitals if the tokenizer has only capitals."""
    vocabulary = tokenizer.get_vocab()
    if "A" not in vocabulary or "a" in vocabulary:
        return text
    return (text.replace("i", DOTTED_CAPITAL) if DOTTED_CAPITAL in vocabulary else text).upper()


@dataclass(frozen=True)
class Collator:
    """Items -> a batch: `input_values` (clips, samples) float32, zero-padded, `attention_mask`, and `labels` (clips,
    letters), padded with -100.
    """

    feature_extractor: Wav2Vec2FeatureExtractor

    def __call__(self, items: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        batch = self.feature_extractor.pad(
            [{"input_values": item["input_values"]} for item in items],
            padding=True,
            pad_to_multiple_of=int(PADDED_TO_S * self.feature_extractor.sampling_rate),
            return_attention_mask=True,
            return_tensors="pt",
        )
        longest = max(1, *(len(item["labels"]) for item in items))  # transformers does not accept empty labels
        labels = torch.full((len(items), longest), IGNORED_LABEL)
        for row, item in enumerate(items):
            labels[row, : len(item["labels"])] = torch.tensor(item["labels"])
        return {**batch, "labels": labels}


class LengthBatchSampler(Sampler[list[int]]):
    """Batches of clips of similar length, at most `batch_s` seconds with padding, in a new random order every epoch."""

    def __init__(self, durations_s: list[float], batch_s: float, seed: int, shuffle: bool = True) -> None:
        self.batch_s, self.seed, self.shuffle = batch_s, seed, shuffle
        self._padded_s = [math.ceil(duration_s / PADDED_TO_S) * PADDED_TO_S for duration_s in durations_s]
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches(0))

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches(self.epoch)

    def _batches(self, epoch: int) -> list[list[int]]:
        # Sorted by padded length, with clips of equal length in random order. So every epoch has the same number of
        # batches, which the learning rate schedule needs, and tensors have few shapes.
        random = Random(f"{self.seed}-{epoch}")
        order = list(range(len(self._padded_s)))
        if self.shuffle:
            random.shuffle(order)
        order.sort(key=lambda index: self._padded_s[index])
        batches: list[list[int]] = []
        for padded_s, clips in groupby(order, key=lambda index: self._padded_s[index]):
            batches += batched(clips, max(1, int(self.batch_s / padded_s)))
        if self.shuffle:
            random.shuffle(batches)
        return batches


def batched(items: Iterable[int], size: int) -> Iterator[list[int]]:
    """Split items into lists of `size`. The last list may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
