import json
from pathlib import Path

import pytest

from scripts.compression.study_state import STATE, StudyState


def test_a_change_is_written_at_once(tmp_path: Path) -> None:
    state = StudyState(tmp_path)
    assert state.get("steps", {}) == {}
    state.set(steps={"a": 1})
    state.set(share=0.5)
    assert json.loads((tmp_path / STATE).read_text(encoding="utf-8")) == {"steps": {"a": 1}, "share": 0.5}
    assert StudyState(tmp_path).get("share") == 0.5


def test_time_adds_up_over_runs_whatever_ends_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("scripts.compression.study_state.time.monotonic", lambda: now)
    state = StudyState(tmp_path)
    with pytest.raises(KeyboardInterrupt), state.spending("train"):
        now += 7
        assert state.spent_s == 7
        raise KeyboardInterrupt
    state = StudyState(tmp_path)
    with state.spending("train"):
        now += 50
        state.tick()
        assert StudyState(tmp_path).get("spent_s") == {"train": 57}, "a study that is killed here has spent it"
        now += 3
    with state.spending("export"):
        now += 1
    assert state.get("spent_s") == {"train": 60, "export": 1}
    assert state.spent_s == 61
