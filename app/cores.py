"""The cores that this process may use (in a container, its share of the host's), and the priority of its threads."""

import math
import os
import sys
import threading
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
MEMBERSHIP = Path("/proc/self/cgroup")
BULK_NICENESS = 5
"""Niceness of the threads that compute long clips. By Linux's weights (sched(7): a factor of 1.25 a step) a thread of
default niceness gets three times the share of such a thread when both want the same core."""


def available_cores() -> int:
    """Cores that this process may use, at least 1: limited by its affinity and the CPU quotas of its control groups.

    A quota of 1.5 cores counts as 2, because one more thread can use the half core.
    """
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, math.ceil(min(affinity, _quota(CGROUPS, MEMBERSHIP))))


def lower_priority(niceness: int) -> None:
    """Add to the niceness of the calling thread, and of the threads that it starts from now on.

    Only Linux can do this for a single thread; on other systems nothing happens.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)


def _quota(cgroups: Path, membership: Path) -> float:
    """The smallest CPU quota, in cores, among the control groups of this process; infinite if there is none.

    Formats: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and, for version 1,
    https://docs.kernel.org/scheduler/sched-bwc.html (cpu.cfs_quota_us).
    """
    try:
        lines = membership.read_text(encoding="utf-8").splitlines()
    except OSError:
        return math.inf
    smallest = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            root = cgroups
        elif "cpu" in controllers.split(","):
            root = cgroups / "cpu"
        else:
            continue
        group = root / path.lstrip("/")
        # In a container the path may be the host's, of which only the root is visible here.
        for folder in {root, group, *group.parents}:
            if folder.is_relative_to(root):
                smallest = min(smallest, _quota_of(folder))
    return smallest


def _quota_of(folder: Path) -> float:
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="utf-8").split()
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return math.inf if quota in ("max", "-1") else int(quota) / int(period)
    except (OSError, ValueError):
        return math.inf
