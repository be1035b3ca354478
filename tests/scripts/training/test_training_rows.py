import pytest

from scripts.speech.data import DataError, SpeechRows
from scripts.training.training_rows import split_rows
from tests.speech import speech_rows


def texts_of(rows: SpeechRows) -> set[str]:
    return set(rows.texts())


class TestSplitRows:
    ROWS = speech_rows([f"metin {number}" for number in range(20)])

    def test_evaluation_is_not_trained_on(self) -> None:
        training, evaluation = split_rows({"train": self.ROWS}, 1.0, 0.2, seed=0)
        assert len(evaluation) == 4
        assert texts_of(training) | texts_of(evaluation) == texts_of(self.ROWS)
        assert not texts_of(training) & texts_of(evaluation)

    def test_a_share_of_the_training_rows(self) -> None:
        training, evaluation = split_rows({"train": self.ROWS}, 0.5, 0.2, seed=0)
        assert (len(training), len(evaluation)) == (10, 4)
        assert not texts_of(training) & texts_of(evaluation)
        whole, same = split_rows({"train": self.ROWS}, 1.0, 0.2, seed=0)
        assert texts_of(training) < texts_of(whole)
        assert same.texts() == evaluation.texts(), "the evaluation set does not depend on the share of training rows"

    def test_the_seed_decides(self) -> None:
        first, same, other = (split_rows({"train": self.ROWS}, 0.5, 0.2, seed)[0].texts() for seed in (1, 1, 2))
        assert first == same
        assert first != other

    def test_a_validation_split_is_used_and_a_test_split_is_not(self) -> None:
        validation, test = speech_rows([f"doğrulama {number}" for number in range(10)]), speech_rows(["sınav"])
        splits = {"train": self.ROWS, "validation": validation, "test": test}
        training, evaluation = split_rows(splits, 1.0, 0.3, seed=0)
        assert texts_of(training) == texts_of(self.ROWS)
        assert len(evaluation) == 3
        assert texts_of(evaluation) < texts_of(validation)

    def test_without_a_training_split_the_message_names_the_others(self) -> None:
        with pytest.raises(DataError, match="no split 'train', only test"):
            split_rows({"test": self.ROWS}, 1.0, 0.2, seed=0)

    def test_there_is_always_something_to_evaluate_on(self) -> None:
        training, evaluation = split_rows({"train": self.ROWS}, 0.001, 0.001, seed=0)
        assert (len(training), len(evaluation)) == (1, 1)
