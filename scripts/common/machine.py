"""What a measurement depends on besides the code: processor, memory, versions, commit."""

import os
import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from app.cpu import this_cpu
from scripts.common import ROOT

PACKAGES = (
    *("numpy", "onnxruntime", "torch", "transformers", "onnx", "optimum", "optimum-onnx"),
    *("openvino", "nncf", "fastapi", "uvicorn", "locust"),
)


@dataclass(frozen=True)
class Machine:
    """Where and with what something was measured.

    cores: those that this process may use. features: instruction sets, as `app.cpu` names them.
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
    """This machine, as far as Linux tells; what it does not tell is "unknown" or empty."""
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
    """The model name of the processor."""
    return this_cpu().model


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Package -> version, of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    """What git prints; empty where there is no git or no repository."""
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""
