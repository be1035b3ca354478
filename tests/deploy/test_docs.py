"""docs/deployment.md is consistent with the files that it describes."""

import re

import pytest

from app.settings import Settings
from scripts.common.dockerfile import parse
from tests.deploy.files import ROOT, Yaml, read_yaml

TEXT = (ROOT / "docs/deployment.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")
PLACES = ("app", "deploy", "docs", "samples", "scripts")
ALERTS: list[Yaml] = read_yaml("deploy/prometheus/alerts.yml")["groups"][0]["rules"]


def test_every_link_leads_somewhere() -> None:
    for link in re.findall(r"\]\(([^)]+)\)", TEXT):
        file, _, place = link.partition("#")
        path = ROOT / "docs" / file if file else ROOT / "docs/deployment.md"
        assert path.is_file(), link
        titles = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.MULTILINE)
        anchors = {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}
        assert not place or place in anchors, link


@pytest.mark.parametrize("text", [TEXT, README], ids=["deployment.md", "README.md"])
def test_every_file_that_a_command_names_exists(text: str) -> None:
    for name in re.findall(rf"(?<![\w/.])(?:{'|'.join(PLACES)})/[\w./-]*\w", text):
        assert (ROOT / name).exists() or (ROOT / name).parent.name == "models", name


def test_settings_that_are_named_exist() -> None:
    for name in re.findall(r"ASR_([A-Z_]+)", TEXT):
        assert name.lower() in Settings.model_fields, name


def test_the_table_has_the_variables_of_the_compose_file_with_their_defaults() -> None:
    compose = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    for name, default in re.findall(r"\$\{((?:DIKTE|GRAFANA)_\w+):-([^}]*)\}", compose):
        assert f"| `{name}` | `{default}` |" in TEXT
    assert "ASR_GRACE_S" in compose


def test_profiles_and_targets_that_are_named_exist() -> None:
    services = read_yaml("docker-compose.yml")["services"].values()
    profiles = {profile for service in services for profile in service.get("profiles", [])}
    assert set(re.findall(r"--profile (\w+)", TEXT)) == profiles
    _, stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    assert set(re.findall(r"--target (\w+)", TEXT)) <= {stage.name for stage in stages}


def test_the_table_has_every_alert() -> None:
    for alert in ALERTS:
        query = " ".join(alert["expr"].split()).replace("|", r"\|")
        waits = f" for {alert['for']}" if "for" in alert else ""
        assert f"| `{alert['alert']}` | {alert['labels']['severity']} | `{query}`{waits} |" in TEXT
