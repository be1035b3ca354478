from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
import pytest
from optuna.trial import Trial, TrialState

from scripts.compression.students_of_teacher import StudyError
from scripts.compression.tuning import (
    FOLDER,
    OPTIONS,
    SEARCHED,
    ReportToTrial,
    best_of,
    open_study,
    options_of,
    pruner_named,
    search,
    suggest,
)

NONE = pruner_named("none", 10)


@pytest.fixture(autouse=True)
def quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture
def database(tmp_path: Path) -> Path:
    return tmp_path / "search" / "study.db"


def by_rate(trial: Trial, folder: str) -> float:
    return abs(float(suggest(trial, ("learning_rate",))["learning_rate"]) - 1e-4)


def test_all_options_are_suggested_in_their_ranges(database: Path) -> None:
    seen: list[dict[str, Any]] = []

    def run(trial: Trial, folder: str) -> float:
        seen.append(suggest(trial, OPTIONS))
        return 0.0

    search(open_study(database, NONE, seed=0), 4, run)
    assert len(seen) == 4
    for values in seen:
        assert values.keys() == set(OPTIONS)
        assert all(wanted.low <= values[name] <= wanted.high for name, wanted in SEARCHED.items())
        assert values["blank_margin"] in (None, 1, 3, 10)


def test_a_search_goes_on_where_it_was(database: Path) -> None:
    search(open_study(database, NONE, seed=0), 3, by_rate)
    ran: list[str] = []

    def run(trial: Trial, folder: str) -> float:
        ran.append(folder)
        return by_rate(trial, folder)

    study = open_study(database, NONE, seed=0)
    search(study, 5, run)
    assert ran == ["trial-003", "trial-004"]
    assert len(study.trials) == 5
    rates = [trial.params["learning_rate"] for trial in study.trials]
    assert len(set(rates)) == 5, "the same options are not tried again"


def test_an_interrupted_trial_is_repeated_in_its_folder(database: Path) -> None:
    def interrupted(trial: Trial, folder: str) -> float:
        if trial.number == 1:
            suggest(trial, OPTIONS)
            raise KeyboardInterrupt
        return by_rate(trial, folder)

    study = open_study(database, NONE, seed=0)
    with pytest.raises(KeyboardInterrupt):
        search(study, 3, interrupted)
    stuck = study.trials[1]
    ran: list[tuple[str, float]] = []

    def run(trial: Trial, folder: str) -> float:
        ran.append((folder, suggest(trial, OPTIONS)["learning_rate"]))
        return 1.0

    search(open_study(database, NONE, seed=0), 3, run)
    assert ran[0] == ("trial-001", stuck.params["learning_rate"])
    assert len(ran) == 2
    assert open_study(database, NONE, seed=0).get_trials(states=(TrialState.WAITING,)) == [], "it is repeated once"


def test_a_trial_whose_process_was_killed_is_repeated_too(database: Path) -> None:
    stuck = open_study(database, NONE, seed=0).ask()
    suggest(stuck, OPTIONS)
    ran: list[tuple[str, dict[str, Any]]] = []

    def run(trial: Trial, folder: str) -> float:
        ran.append((folder, suggest(trial, OPTIONS)))
        return 1.0

    study = open_study(database, NONE, seed=0)
    search(study, 1, run)
    assert ran == [("trial-000", options_of(stuck.params))]


def test_the_best_options_are_for_compress(database: Path) -> None:
    with pytest.raises(StudyError, match="make one with"):
        best_of(database)
    study = open_study(database, NONE, seed=0)
    with pytest.raises(StudyError, match="no complete trial"):
        best_of(database)
    search(study, 5, lambda trial, folder: float(suggest(trial, OPTIONS)["alpha"]))
    best = best_of(database)
    assert best["alpha"] == study.best_value
    assert best.keys() == set(OPTIONS)
    assert best["blank_margin"] in (None, 1, 3, 10)


class TestReports:
    def callback(self, prunes: bool) -> tuple[ReportToTrial, list[tuple[float, int]]]:
        reports: list[tuple[float, int]] = []
        trial: Any = SimpleNamespace(
            report=lambda value, step: reports.append((value, step)), should_prune=lambda: prunes
        )
        return ReportToTrial(trial), reports

    def test_each_evaluation_is_reported(self) -> None:
        callback, reports = self.callback(prunes=False)
        control: Any = SimpleNamespace(should_training_stop=False)
        state: Any = SimpleNamespace(
            global_step=5, max_steps=10, log_history=[{"eval_wer": 0.9, "step": 3}, {"loss": 1}]
        )
        callback.on_train_begin(state, state, control)
        callback.on_evaluate(state, state, control, metrics={"eval_wer": 0.5})
        assert reports == [(0.9, 3), (0.5, 5)]
        assert callback.pruned_at is None
        assert not control.should_training_stop

    def test_a_pruned_trial_stops_once(self) -> None:
        callback, reports = self.callback(prunes=True)
        control: Any = SimpleNamespace(should_training_stop=False)
        state: Any = SimpleNamespace(global_step=5, max_steps=10)
        callback.on_evaluate(state, state, control, metrics={"eval_wer": 0.5})
        callback.on_evaluate(state, state, control, metrics={"eval_wer": 0.5})
        assert control.should_training_stop
        assert (callback.pruned_at, reports) == (5, [(0.5, 5)])

    def test_the_end_of_a_training_is_not_pruned(self) -> None:
        callback, reports = self.callback(prunes=True)
        control: Any = SimpleNamespace(should_training_stop=False)
        state: Any = SimpleNamespace(global_step=10, max_steps=10)
        callback.on_evaluate(state, state, control, metrics={"eval_wer": 0.5})
        assert callback.pruned_at is None
        assert not reports


def test_folders_are_attributes(database: Path) -> None:
    study = open_study(database, NONE, seed=0)
    search(study, 1, by_rate)
    assert study.trials[0].user_attrs[FOLDER] == "trial-000"
