import os
import subprocess

from app.cpu import this_cpu
from scripts.common.machine import describe_machine, processor, versions


def test_the_processor_has_a_name() -> None:
    assert processor().strip()


def test_the_machine_is_described_as_it_is() -> None:
    machine = describe_machine()
    assert machine.processor == processor() == this_cpu().model
    assert machine.features == this_cpu().features
    assert machine.cores == len(os.sched_getaffinity(0))
    assert machine.memory_bytes > 1 << 28
    head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    assert machine.commit == (head or "unknown")


def test_only_installed_packages_have_a_version() -> None:
    assert versions(("numpy", "no-such-package")).keys() == {"numpy"}
