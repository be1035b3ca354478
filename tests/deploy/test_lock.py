"""What the image installs is exactly what the requirements say, by hash, and what docs/licences.md lists."""

import re

import pytest

from tests.deploy.files import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = dict(re.findall(r"^([\w.-]+)==(\S+) \\$", LOCK, re.MULTILINE))
PIN = re.compile(r"^([\w.-]+)==([\w.]+)$")
LEAST = {"python-multipart": (0, 0, 31), "starlette": (1, 3, 1)}
"""Below these, uploads can keep the service busy for long (advisories of both projects)."""


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {match[1]: match[2] for line in lines if (match := PIN.match(line))}


def test_every_requirement_is_locked_in_its_version() -> None:
    assert pins("requirements.txt").items() <= LOCKED.items()


def test_everything_locked_has_hashes() -> None:
    entries = re.split(r"^(?=[\w.-]+==)", LOCK, flags=re.MULTILINE)[1:]
    assert len(entries) == len(LOCKED)
    assert all("--hash=sha256:" in entry for entry in entries)


def test_nothing_in_it_belongs_to_one_machine() -> None:
    assert not re.search(r"^-|file:|://", LOCK, re.MULTILINE)


def test_serving_has_no_pytorch() -> None:
    assert not {"torch", "transformers", "openvino", "locust"} & LOCKED.keys()


@pytest.mark.parametrize("name", sorted(ROOT.glob("requirements*.txt")), ids=lambda path: str(path.name))
def test_every_requirement_has_a_version(name: str) -> None:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    for line in lines:
        assert not line or line.startswith(("#", "-r ")) or PIN.match(line), line


@pytest.mark.parametrize("name", LEAST)
def test_versions_with_known_holes_do_not_come_back(name: str) -> None:
    assert tuple(int(part) for part in LOCKED[name].split(".")) >= LEAST[name]


def test_licences_are_listed_for_exactly_what_is_locked() -> None:
    text = (ROOT / "docs/licences.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| ([\w.-]+) \| ([\w.]+) \|", text, re.MULTILINE)
    normal = {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in listed if name != "package"}
    assert normal == LOCKED
