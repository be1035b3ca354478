import math
import os
import sys
import threading
from pathlib import Path

import pytest

from app import cores
from app.cores import available_cores, lower_priority


def test_no_more_than_this_process_may_run_on() -> None:
    assert 1 <= available_cores() <= len(os.sched_getaffinity(0))


def quota(folder: Path, membership: str, files: dict[str, str]) -> float:
    for name, content in files.items():
        path = folder / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (folder / "membership").write_text(membership)
    return cores._quota(folder / "cgroup", folder / "membership")


@pytest.mark.parametrize(
    ("membership", "files", "expected"),
    [
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),  # in a container
        ("0::/\n", {"cpu.max": "max 100000\n"}, math.inf),
        ("0::/a/b\n", {"a/cpu.max": "200000 100000", "a/b/cpu.max": "400000 100000"}, 2.0),  # the parent's is less
        ("0::/docker/1234\n", {"cpu.max": "50000 100000"}, 0.5),  # the host's path, of which only the root is seen
        ("5:cpu,cpuacct:/\n1:memory:/x\n", {"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3.0),
        ("5:cpu,cpuacct:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ("0::/\n", {"cpu.max": "nonsense"}, math.inf),
        ("0::/\n", {}, math.inf),
    ],
)
def test_quota(tmp_path: Path, membership: str, files: dict[str, str], expected: float) -> None:
    assert quota(tmp_path, membership, files) == expected


def test_no_control_groups(tmp_path: Path) -> None:
    assert cores._quota(tmp_path, tmp_path / "none") == math.inf


@pytest.mark.parametrize(("cores_of_quota", "expected"), [(0.25, 1), (0.5, 1), (1.0, 1), (math.inf, None)])
def test_a_share_is_rounded_up(monkeypatch: pytest.MonkeyPatch, cores_of_quota: float, expected: int | None) -> None:
    monkeypatch.setattr(cores, "_quota", lambda *paths: cores_of_quota)
    assert available_cores() == (expected or len(os.sched_getaffinity(0)))


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no niceness of a single thread")
def test_the_priority_of_one_thread_and_of_those_it_starts_is_lowered() -> None:
    seen: list[int] = []

    def note() -> None:
        seen.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))

    def lowered() -> None:
        lower_priority(3)
        note()
        child = threading.Thread(target=note)
        child.start()
        child.join()

    thread = threading.Thread(target=lowered)
    thread.start()
    thread.join()
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    assert seen == [min(usual + 3, 19)] * 2
