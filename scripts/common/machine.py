"""The machine of a measurement: processor, memory, versions and commit."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from app.cpu import this_cpu
from scripts.common import ROOT

PACKAGES = (
    *("numpy", "onnxruntime", "torch", "transformers", "onnx", "optimum", "optimum-onnx"),
    *("openvino", "nncf", "faster-whisper", "ctranslate2", "fastapi", "uvicorn", "locust"),
)


@dataclass(frozen=True)
class Machine:
    """The machine and the software of a measurement.

    cores: the number that this process may use. features: instruction sets, by their names in `app.cpu`.
    """

    processor: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str
    versions: dict[str, str]
    commit: str
    changed: bool
    """Whether the working tree differs from the commit."""


def describe_machine() -> Machine:
    """Describe this machine. A commit that is not known is "unknown"."""
    commit = _git("rev-parse", "HEAD")
    return Machine(
        processor=processor(),
        cores=len(os.sched_getaffinity(0)),
        features=this_cpu().features,
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
        versions=versions(PACKAGES),
        commit=commit or "unknown",
        changed=bool(_git("status", "--porcelain", "--untracked-files=no")),
    )


def processor() -> str:
    """Model name of the processor."""
    return this_cpu().model


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Package -> version, for the packages that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    """Output of a git command. Empty without git, or outside of a repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
