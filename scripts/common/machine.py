"""What a measurement depends on besides the code: processor, memory, versions, commit."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from scripts.common import ROOT

TELLING_FLAGS = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8", "asimddp", "i8mm")
"""Instruction sets by which the kernels of matrix products differ (x86 and ARM)."""
PACKAGES = (
    *("numpy", "onnxruntime", "torch", "transformers", "onnx", "optimum", "optimum-onnx"),
    *("openvino", "nncf"),
)


@dataclass(frozen=True)
class Machine:
    """Where and with what something was measured. cores: those that this process may use."""

    processor: str
    cores: int
    flags: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    versions: dict[str, str]
    commit: str
    changed: bool
    """Whether the working tree differs from the commit."""


def describe_machine() -> Machine:
    """This machine, as far as Linux tells; what it does not tell is "unknown" or empty."""
    commit = _git("rev-parse", "HEAD")
    return Machine(
        processor=processor(),
        cores=len(os.sched_getaffinity(0)),
        flags=tuple(flag for flag in TELLING_FLAGS if flag in _instruction_sets()),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=versions(PACKAGES),
        commit=commit or "unknown",
        changed=bool(_git("status", "--porcelain", "--untracked-files=no")),
    )


def processor() -> str:
    """The model name of the processor, as Linux tells it."""
    return _cpu_info("model name") or platform.processor() or platform.machine()


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Package -> version, of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _instruction_sets() -> set[str]:
    return set((_cpu_info("flags") or _cpu_info("Features")).split())


def _cpu_info(field: str) -> str:
    """A field of the first core in /proc/cpuinfo; empty if there is none."""
    path = Path("/proc/cpuinfo")
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        name, _, value = line.partition(":")
        if name.strip() == field:
            return value.strip()
    return ""


def _git(*arguments: str) -> str:
    """What git prints; empty where there is no git or no repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
