"""The lock files are consistent with pyproject.toml, and with docs/licences.md."""

import re
import tomllib
from pathlib import Path

import pytest

from tests.deploy.files import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
PIN = re.compile(r"([\w.-]+)==([\w.]+)")
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", LOCK, re.MULTILINE))
CONSTRAINTS = (ROOT / "constraints.txt").read_text(encoding="utf-8")
CONSTRAINED = dict(re.findall(r"^([\w.-]+)==(\S+)$", CONSTRAINTS, re.MULTILINE))
MIN_VERSIONS = {"python-multipart": (0, 0, 31), "starlette": (1, 3, 1)}
"""In older versions, uploads can keep the service busy for a long time (security advisories of both projects)."""


def pins(requirements: list[str]) -> dict[str, str]:
    """Package -> version, without the extras of the project itself."""
    own = [line for line in requirements if not line.startswith("dikte[")]
    found = {line: PIN.fullmatch(line) for line in own}
    return {match[1]: match[2] for match in found.values() if match}


@pytest.mark.parametrize("requirements", [PROJECT["dependencies"], *EXTRAS.values()], ids=["dikte", *EXTRAS])
def test_every_dependency_is_pinned_and_locked(requirements: list[str]) -> None:
    assert len(pins(requirements)) == sum(not line.startswith("dikte[") for line in requirements)
    assert pins(requirements).items() <= CONSTRAINED.items(), "make lock"


def test_the_image_has_the_same_versions_as_other_installations() -> None:
    assert pins(PROJECT["dependencies"]).items() <= LOCKED.items() <= CONSTRAINED.items(), "make lock"


@pytest.mark.parametrize("path", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: str(path.name))
def test_requirements_are_the_project_with_an_extra(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    constraints, project = lines
    assert constraints == "-c constraints.txt"
    extras = re.fullmatch(r"-e \.(?:\[([\w,]+)\])?", project)
    assert extras
    assert set((extras[1] or "").split(",")) <= {"", *EXTRAS}
    name = path.stem.removeprefix("requirements").removeprefix("-")
    assert name == "peers" or name == (extras[1] or "")


def test_everything_locked_has_hashes() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(LOCKED)
    assert all("--hash=sha256:" in entry for entry in entries)


@pytest.mark.parametrize("text", [LOCK, CONSTRAINTS], ids=["requirements.lock", "constraints.txt"])
def test_the_locks_are_portable(text: str) -> None:
    assert not re.search(r"^-|://|==[^ ]*\+| @ ", text, re.MULTILINE)


def test_serving_has_no_pytorch() -> None:
    assert not {"torch", "transformers", "openvino", "locust"} & LOCKED.keys()


@pytest.mark.parametrize("name", MIN_VERSIONS)
def test_versions_with_known_vulnerabilities_are_not_locked(name: str) -> None:
    assert tuple(int(part) for part in LOCKED[name].split(".")) >= MIN_VERSIONS[name]


def test_licences_are_listed_for_exactly_the_locked_packages() -> None:
    text = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \|", text, re.MULTILINE)
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in listed if name != "package"}
    assert normal == LOCKED
