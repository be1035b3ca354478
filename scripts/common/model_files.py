"""The files of a model graph on disk."""

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
