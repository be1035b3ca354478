"""CI runs the commands of developers, with pinned actions and minimal permissions."""

import importlib.resources
import importlib.util
import json
import re

import pytest

from tests.deploy.files import ROOT, Yaml, read_yaml

NAME = ".github/workflows/ci.yml"
TEXT = (ROOT / NAME).read_text(encoding="utf-8")
WORKFLOW = read_yaml(NAME)
JOBS: dict[str, Yaml] = WORKFLOW["jobs"]
STEPS: list[Yaml] = [step for job in JOBS.values() for step in job["steps"]]
COMMANDS = "\n".join(step.get("run", "") for step in STEPS)


@pytest.mark.skipif(importlib.util.find_spec("check_jsonschema") is None, reason="needs check-jsonschema")
@pytest.mark.parametrize(
    ("name", "schema"), [(NAME, "github-workflows.json"), (".github/dependabot.yml", "dependabot.json")]
)
def test_it_conforms_to_the_schema_of_github(name: str, schema: str) -> None:
    import jsonschema

    document = json.loads(json.dumps(read_yaml(name)).replace('"true": {"push"', '"on": {"push"'))  # YAML 1.1 says true
    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    jsonschema.validate(document, json.loads((schemas / schema).read_text(encoding="utf-8")))


def test_actions_are_pinned_by_commit_with_their_version() -> None:
    uses = re.findall(r"uses: (.*)$", TEXT, re.MULTILINE)
    assert uses
    for action in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_it_only_has_read_permission() -> None:
    assert WORKFLOW["permissions"] == {}
    assert all(job["permissions"] == {"contents": "read"} for job in JOBS.values())
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert "${{" not in COMMANDS, "text from others must not become a command"


def test_every_job_has_a_timeout() -> None:
    assert all(job["timeout-minutes"] <= 60 for job in JOBS.values())


def test_it_runs_the_commands_of_developers() -> None:
    assert "make test TORCH_INDEX=" in COMMANDS
    assert "make test" in (ROOT / ".ci/run").read_text(encoding="utf-8")


def test_files_that_commands_name_exist() -> None:
    for file in re.findall(r"[\w./-]+\.(?:yml|yaml|wav|lock|txt)\b", COMMANDS):
        assert (ROOT / file).is_file(), file


def test_the_expected_transcript_is_that_of_the_readme() -> None:
    (text,) = re.findall(r'\.text == "(.*?)"', COMMANDS)
    assert f'"text":"{text}"' in (ROOT / "README.md").read_text(encoding="utf-8")
