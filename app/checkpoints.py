"""Loads the weights of a checkpoint: all that its model needs, or none.

transformers initializes every missing weight randomly and only logs a warning. Such a model outputs nothing useful, and
an export of it still agrees with it perfectly. So here a missing or unused weight is an error, unless it has no effect
on the output.
"""

import json
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from transformers import AutoConfig, PreTrainedModel
from transformers.utils import logging

from app.artifacts import ArtifactError
from app.files import describe_broken_file, one_line

WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
"""File names of unsharded weights, in the order in which transformers looks for them."""
INDEX_SUFFIX = ".index.json"
"""Suffix of the file that maps each weight to its shard."""
MAX_LISTED = 4
"""Most names of weights in a message; the others are only counted."""
ZIP_MAGIC = b"PK"
"""First bytes of `pytorch_model.bin` since PyTorch 1.6: it is a ZIP archive, whose table of contents is at its end."""


class LoadedCheckpoint(NamedTuple):
    """A model in evaluation mode, and the names of the head's weights that the checkpoint does not have."""

    model: PreTrainedModel
    new_weights: tuple[str, ...]


@dataclass(frozen=True)
class Architecture:
    """How a model family is loaded.

    model_class: a class of transformers with `from_pretrained`. head: prefix of the weights of the output layer.
    ignored: names of weights and buffers without effect on recognition, and of modules that only pretraining uses.
    """

    model_class: Any
    head: str
    ignored: frozenset[str]


def load_weights(
    folder: Path, architecture: Architecture, dtype: torch.dtype, *, new_head: bool, **options: Any
) -> LoadedCheckpoint:
    """Load a model from a checkpoint folder.

    new_head: accept a checkpoint without a head or with one of another size, as pretrained encoders are. options:
    overrides of the model's configuration. Raises ArtifactError, with a message of one line, if a file is missing or
    broken, or if a weight is missing, unused or has another shape.
    """
    check_weights_files(folder)
    with only_errors_logged():
        try:
            config = AutoConfig.from_pretrained(folder, **options)
            # The attention implementation must suit this machine, not the one that saved the checkpoint, which may have
            # had FlashAttention. None lets transformers choose.
            config._attn_implementation = None
            model, report = architecture.model_class.from_pretrained(
                folder, config=config, dtype=dtype, output_loading_info=True, ignore_mismatched_sizes=True
            )
        except Exception as error:  # transformers and PyTorch raise errors of many kinds
            raise ArtifactError(f"the checkpoint in {folder} cannot be loaded: {one_line(error)}") from error
    missing, left_over, mismatched = (
        {name for name in report[key] if architecture.ignored.isdisjoint(name.split("."))}
        for key in ("missing_keys", "unexpected_keys", "mismatched_keys")
    )
    head = architecture.head
    new_weights: set[str] = set()
    if new_head:
        new_weights = {name for name in missing | mismatched if name.startswith(head)}
        modules = {name for part in (model, model.base_model) for name, _ in part.named_children()}
        left_over = {name for name in left_over if name.split(".")[0] in modules and not name.startswith(head)}
    _refuse(folder, head, missing - new_weights, left_over, mismatched - new_weights, report["unexpected_keys"])
    return LoadedCheckpoint(model, tuple(sorted(new_weights)))


def _refuse(
    folder: Path,
    head: str,
    missing: Collection[str],
    left_over: Collection[str],
    mismatched: Collection[str],
    unexpected: Collection[str],
) -> None:
    """Raises ArtifactError if any weight is missing, left over or mismatched.

    unexpected: names of all weights that the model does not use, including those without effect.
    """
    wrong = []
    if missing:
        wrong.append(f"the model needs {_listed(missing)}, which its files do not have")
    if mismatched:
        wrong.append(f"{_listed(mismatched)} have another shape than config.json says")
    if left_over:
        wrong.append(f"its files have {_listed(left_over)}, which the model does not use")
    if not wrong:
        return
    if missing and all(name.startswith(head) for name in missing):
        wrong.append(f"a checkpoint without a head ({head.rstrip('.')}) has to be trained first: scripts/train.py")
    if prefix := _prefix_of(missing, unexpected):
        wrong.append(f"take the prefix {prefix!r} off the names of the weights, or save the model that was wrapped")
    raise ArtifactError(f"the weights in {folder} do not fit the model: {'; '.join(wrong)}")


def _listed(names: Collection[str]) -> str:
    first = sorted(names)[:MAX_LISTED]
    others = len(names) - len(first)
    return ", ".join(first) + (f" and {others} more" if others else "")


def _prefix_of(missing: Collection[str], unexpected: Collection[str]) -> str:
    """A prefix that the missing weights have in the file, such as DistributedDataParallel's "module."; "" if none."""
    for name in unexpected:
        first, _, rest = name.partition(".")
        if rest in missing:
            return f"{first}."
    return ""


def check_weights_files(folder: Path) -> None:
    """Raises ArtifactError if a file of a checkpoint's weights is missing, truncated or a Git LFS pointer."""
    for path in weights_files(folder):
        if broken := describe_broken_file(path):
            raise ArtifactError(broken)
        if not path.is_file():
            raise ArtifactError(f"{path.name} is missing in {folder}, a part of the weights: fetch it")
        if path.suffix == ".safetensors":
            _check_safetensors(path)
        else:
            _check_archive(path)


def weights_files(folder: Path) -> list[Path]:
    """The files that transformers reads the weights from. Raises ArtifactError if there are none."""
    for name in WEIGHTS_FILES:
        if (folder / name).exists() or (folder / name).is_symlink():
            return [folder / name]
        index = folder / f"{name}{INDEX_SUFFIX}"
        if index.exists():
            try:
                parts = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (ValueError, KeyError, AttributeError, TypeError) as error:
                raise ArtifactError(describe_broken_file(index) or f"{index} is no index of weights") from error
            return [folder / part for part in sorted(parts)]
    raise ArtifactError(
        f"there are no PyTorch weights in {folder}: neither {' nor '.join(WEIGHTS_FILES)}, nor an index"
    )


def _check_safetensors(path: Path) -> None:
    try:
        with safe_open(path, framework="pt"):  # checks the file size against the header
            pass
    except SafetensorError as error:
        raise _broken(path) from error


def _check_archive(path: Path) -> None:
    with path.open("rb") as file:
        is_archive = file.read(len(ZIP_MAGIC)) == ZIP_MAGIC  # older than PyTorch 1.6: not an archive
    if is_archive and not zipfile.is_zipfile(path):
        raise _broken(path)


def _broken(path: Path) -> ArtifactError:
    return ArtifactError(f"{path.name} in {path.parent} is broken or cut off: fetch it again")


@contextmanager
def only_errors_logged() -> Iterator[None]:
    """Silence transformers' warnings, such as those about missing weights, which the error reports."""
    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)
