import platform
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import memory

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import resource, threading
from app.memory import MIB, keep_freed_memory, return_freed_memory

def resident_mib():
    (line,) = (line for line in open("/proc/self/status") if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

def faults_of_a_block():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = b"x" * (64 * MIB)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def work():
    faults_of_a_block()
    figures.append(faults_of_a_block())
    figures.append(resident_mib())

figures = []
work()
keep_freed_memory()
thread = threading.Thread(target=work)
thread.start()
thread.join()
returned = return_freed_memory()
print(*figures, resident_mib(), returned)
"""
on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="of glibc's allocator")


@on_glibc
def test_freed_memory_is_kept_until_it_is_given_back() -> None:
    """In a process of its own, in a thread too, for a block larger than what glibc keeps by itself."""
    printed = subprocess.run([sys.executable, "-c", CODE], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    *figures, returned = printed.split()
    faults, resident_mib, faults_when_kept, kept_mib, returned_mib = map(int, figures)
    assert faults_when_kept < 100 < faults
    assert kept_mib >= resident_mib + 60
    assert returned_mib <= resident_mib + 16
    assert returned == "True"


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr("app.memory.ctypes.CDLL", lambda _: object())
    memory._glibc.cache_clear()
    yield
    memory._glibc.cache_clear()


@pytest.mark.usefixtures("elsewhere")
def test_elsewhere_nothing_happens() -> None:
    memory.keep_freed_memory()
    assert not memory.return_freed_memory()
