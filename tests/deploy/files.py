"""Readers of the deployment files, for the tests."""

from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
Yaml = dict[str, Any]


class ComposeLoader(yaml.SafeLoader):  # type: ignore[misc]  # no stubs for it
    """YAML with `!reset`, with which an override removes a value."""


ComposeLoader.add_constructor("!reset", lambda loader, node: loader.construct_sequence(node))


def read_yaml(name: str) -> Yaml:
    """The only document of a file in the repository."""
    document: Yaml = yaml.load((ROOT / name).read_text(encoding="utf-8"), ComposeLoader)  # noqa: S506  # a safe one
    return document


def read_all_yaml(name: str) -> list[Yaml]:
    """All documents of a file in the repository."""
    return list(yaml.safe_load_all((ROOT / name).read_text(encoding="utf-8")))
