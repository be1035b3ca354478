"""The baselines of a benchmark: models that common tools make from the same checkpoint.

They have none of Dikte's optimizations. Each family lists its own (`ctc_baselines`, `whisper_baselines`). Their files
are cached in a folder whose name is a hash of the weights and the versions of the tools.
"""

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.artifacts import sha256_of
from scripts.benchmarking.engines import EngineSpec, installed, weights_of
from scripts.common import ROOT
from scripts.common.audio_files import find_audio_files
from scripts.common.machine import versions
from scripts.common.model_files import model_files

COMMAND = ROOT / "scripts" / "tools" / "baselines.py"
REPORT_NAME = "baselines.json"
"""The file in the folder of the baselines in which `COMMAND` records which of them failed, and why."""
EXPORT_TOOLS = (
    "torch",
    "transformers",
    "optimum",
    "optimum-onnx",
    "onnx",
    "onnxruntime",
    "ctranslate2",
    "optimum-intel",
)
CALIBRATION_TOOLS = ("openvino", "nncf")
WEIGHTS = ("*.onnx", "*.bin", "*.xml")
"""Graphs and weights in a folder that a baseline is made of, without external weights of ONNX files."""


class BaselineError(Exception):
    """No baseline can be made. The message says why."""


@dataclass(frozen=True)
class Source:
    """The inputs of baselines.

    checkpoint: the checkpoint folder. folder: where their files are cached. calibration: the folder of calibration
    clips.
    """

    checkpoint: Path
    folder: Path
    calibration: Path

    def calibration_key(self) -> str:
        """A hash of the calibration clips and the versions of the tools that calibrate."""
        hashes = [sha256_of(path) for path in find_audio_files([self.calibration])]
        return _digest([*hashes, versions(CALIBRATION_TOOLS)])


def nothing(source: Source, target: Path) -> None:
    """The `make` of a baseline that has no file of its own."""


@dataclass(frozen=True)
class Baseline:
    """A model to compare with.

    family: as in `EngineSpec`. loader: a key of the family's `LOADERS`. file: name of its file in the folder of the
    baselines, or of a folder that has its files and their settings; empty for the checkpoint itself. make: writes them
    to a path. base: the key of the baseline that it is made from; empty for the checkpoint. needs: modules without
    which it can neither be made nor run. calibrated: the file also depends on the calibration clips.
    """

    key: str
    title: str
    family: str
    loader: str
    file: str = ""
    make: Callable[[Source, Path], None] = nothing
    base: str = ""
    needs: tuple[str, ...] = ()
    calibrated: bool = False

    def path(self, source: Source) -> Path:
        """Path of its file or folder."""
        name = Path(self.file)
        return source.folder / (f"{name.stem}-{source.calibration_key()}{name.suffix}" if self.calibrated else name)

    def spec(self, source: Source, language: str = "") -> EngineSpec:
        """How to load it. Raises FileNotFoundError if its file does not exist."""
        path, settings = self.path(source), source.checkpoint
        if not self.file:
            files = weights_of(source.checkpoint)
        elif path.is_dir():
            settings = path
            graphs = sorted(found for pattern in WEIGHTS for found in path.glob(pattern))
            files = tuple(dict.fromkeys(part for graph in graphs for part in model_files(graph)))
        else:
            files = model_files(path)
        return EngineSpec(self.key, self.title, self.family, self.loader, settings, files, language=language)

    @property
    def missing(self) -> tuple[str, ...]:
        """The modules that it needs but that are not installed."""
        return tuple(module for module in self.needs if not installed(module))


def source_of(checkpoint: Path, folder: Path, calibration: Path) -> Source:
    """The source of a checkpoint's baselines. They are cached in a subfolder of `folder`, named after their inputs.

    Raises FileNotFoundError if the checkpoint has no weights.
    """
    files = [checkpoint / "config.json", *weights_of(checkpoint)]
    return Source(
        checkpoint, folder / _digest([[sha256_of(path) for path in files], versions(EXPORT_TOOLS)]), calibration
    )


def make_baselines(source: Source, baselines: Sequence[Baseline], keys: Sequence[str]) -> dict[str, str]:
    """Make the files of the named baselines that do not exist yet. Returns the failures: key -> reason.

    baselines: those of the checkpoint's family.
    """
    source.folder.mkdir(parents=True, exist_ok=True)
    by_key = {baseline.key: baseline for baseline in baselines}
    failed = {}
    for baseline in baselines:
        if baseline.key not in keys:
            continue
        if baseline.missing:
            failed[baseline.key] = f"not installed: {', '.join(baseline.missing)} (requirements-peers.txt)"
        else:
            try:
                _make_with_base(baseline, by_key, source)
            except Exception as error:  # each tool raises its own kinds of errors
                failed[baseline.key] = f"cannot be made: {type(error).__name__}: {error}"
        print(f"{baseline.title}: {failed.get(baseline.key, 'ready')}", flush=True)
    return failed


def _make_with_base(baseline: Baseline, by_key: dict[str, Baseline], source: Source) -> None:
    if baseline.base:
        _make_with_base(by_key[baseline.base], by_key, source)
    if baseline.file and not baseline.path(source).exists():
        _make(baseline.make, source, baseline.path(source))


def _make(make: Callable[[Source, Path], None], source: Source, target: Path) -> None:
    """Write files to a temporary folder, then move them, so that what exists is complete."""
    print(f"making {target.name} ...", flush=True)
    with tempfile.TemporaryDirectory(dir=source.folder) as folder:
        make(source, Path(folder) / target.name)
        for part in sorted(Path(folder).iterdir(), key=lambda path: path.name == target.name):  # the model file last
            shutil.move(part, target.with_name(part.name))


def _digest(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def have_baselines_made(source: Source, keys: list[str]) -> dict[str, str]:
    """Run `make_baselines` in a child process, so that its memory is freed. Raises BaselineError if that fails."""
    command = [sys.executable, str(COMMAND), "--checkpoint_dir", str(source.checkpoint)]
    command += ["--out", str(source.folder.parent), "--calibration", str(source.calibration), "--only", *keys]
    if code := subprocess.run(command, check=False).returncode:
        raise BaselineError(f"the baselines cannot be made (exit code {code})")
    failed: dict[str, str] = json.loads((source.folder / REPORT_NAME).read_text(encoding="utf-8"))["failed"]
    return failed
