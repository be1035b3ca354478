"""The files of a model on disk."""

import shutil
from collections.abc import Iterable
from pathlib import Path


def model_files(path: Path) -> tuple[Path, ...]:
    """A model file and its external weights, if any: `.onnx_data`, `.onnx.data`, or `.bin` of an `.xml` file.

    Raises FileNotFoundError if the model file does not exist.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    beside = [path.with_name(path.name + "_data"), path.with_name(path.name + ".data")]
    if path.suffix == ".xml":
        beside.append(path.with_suffix(".bin"))
    return (path, *(other for other in beside if other.is_file()))


def copy_parts(source: Path, target: Path, names: Iterable[str]) -> None:
    """Copy those of the named files and folders that `source` has. A folder in the target is replaced as a whole."""
    if source.resolve() == target.resolve():
        return
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
        elif (source / name).is_dir():
            shutil.rmtree(target / name, ignore_errors=True)
            shutil.copytree(source / name, target / name, ignore=shutil.ignore_patterns(".*"))
