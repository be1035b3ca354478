"""The fixture of all tests that need a study."""

from pathlib import Path

import pytest

from scripts.compression.study import Study
from tests.scripts.compression.made_studies import made_study


@pytest.fixture
def study(checkpoints: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Study:
    return made_study(tmp_path / "out", checkpoints, monkeypatch)
