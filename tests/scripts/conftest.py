from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder under which `tests.checkpoints` builds and exports, once a session."""
    return tmp_path_factory.getbasetemp()
