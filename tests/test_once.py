import subprocess
import sys
from pathlib import Path

import pytest

from tests.once import made_once

MAKE = """
import sys, time
from pathlib import Path
from tests.once import made_once

def make(path):
    with path.with_name("log").open("a") as log:
        log.write("made ")
    time.sleep(0.2)
    path.write_text("whole")

print(made_once(Path(sys.argv[1]), make).read_text())
"""


def test_processes_share_what_the_first_one_makes(tmp_path: Path) -> None:
    command = [sys.executable, "-c", MAKE, str(tmp_path / "folder" / "thing")]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0] for process in running] == ["whole\n"] * 3
    assert (tmp_path / "folder" / "log").read_text() == "made "


def test_what_could_not_be_made_is_tried_again(tmp_path: Path) -> None:
    def fail(_: Path) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        made_once(tmp_path / "thing", fail)
    assert made_once(tmp_path / "thing", Path.touch).exists()
    assert made_once(tmp_path / "thing", fail).exists()
