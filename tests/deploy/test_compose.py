"""The compose files are valid, harden the service, and are consistent with each other."""

import importlib.resources
import importlib.util
import json
import os
import re
import shutil
import subprocess

import pytest

from app.settings import Settings
from scripts.common.dockerfile import parse
from scripts.load_testing.answers import API_KEY_VARIABLE
from tests.deploy.files import ROOT, Yaml, read_yaml

COMPOSE = read_yaml("docker-compose.yml")
SCALED = read_yaml("deploy/compose.scaled.yml")
HAPROXY = (ROOT / "deploy/haproxy/haproxy.cfg").read_text(encoding="utf-8")
SERVICES: dict[str, Yaml] = COMPOSE["services"] | {"proxy": SCALED["services"]["proxy"]}
API = SERVICES["api"]
DEFAULT_OF = Settings.model_fields


def seconds(text: str) -> float:
    """Parse a duration such as `40s`, in the notation of compose and HAProxy."""
    assert text.endswith("s")
    return float(text.removesuffix("s"))


def haproxy(setting: str) -> str:
    found = re.search(rf"^\s*{setting} (\S+)$", HAPROXY, re.MULTILINE)
    assert found, setting
    return found[1]


@pytest.mark.skipif(importlib.util.find_spec("check_jsonschema") is None, reason="needs check-jsonschema")
@pytest.mark.parametrize("document", [COMPOSE, SCALED], ids=["docker-compose.yml", "compose.scaled.yml"])
def test_it_conforms_to_the_compose_specification(document: Yaml) -> None:
    import jsonschema

    schemas = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    jsonschema.validate(document, schema)


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_hardened(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    assert "docker.sock" not in str(service)


def test_by_default_only_the_service_starts() -> None:
    assert [name for name, service in COMPOSE["services"].items() if not service.get("profiles")] == ["api"]


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in {"api", "proxy"}])
def test_services_for_operators_listen_on_localhost_only(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:")


@pytest.mark.parametrize("name", SERVICES)
def test_external_images_have_a_version(name: str) -> None:
    if "build" not in SERVICES[name]:
        assert re.search(r":v?\d+\.\d+", SERVICES[name]["image"])


def test_every_target_is_a_stage_of_the_dockerfile() -> None:
    _, stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets <= {stage.name for stage in stages}


def test_every_setting_is_passed_to_the_container() -> None:
    settings = {f"ASR_{name.upper()}" for name in DEFAULT_OF}
    # In a container it has to listen on every address.
    assert set(API["environment"]) == settings - {"ASR_HOST"}


def test_the_load_test_has_the_key_of_the_service() -> None:
    assert SERVICES["locust-worker"]["environment"] == {API_KEY_VARIABLE: "${ASR_API_KEYS:-}"}


def test_paths_that_are_mounted_exist() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = re.sub(r"\$\{\w+:-(.*?)\}", r"\1", volume).split(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), source


def test_limits_are_set_and_uploads_fit_below_them() -> None:
    limits = API["deploy"]["resources"]["limits"]
    assert set(limits) == {"cpus", "memory", "pids"}
    assert DEFAULT_OF["max_upload_bytes"].default < 1 << 30, "tmpfs has 1 GiB"
    assert any("size=1g" in place for place in API["tmpfs"])


def test_timeouts_are_longer_than_what_they_wait_for() -> None:
    grace_s = float(API["environment"]["ASR_GRACE_S"])
    assert grace_s == DEFAULT_OF["grace_s"].default
    assert grace_s < seconds(API["stop_grace_period"])
    assert grace_s < seconds(haproxy("hard-stop-after")) < seconds(SERVICES["proxy"]["stop_grace_period"])
    assert seconds(haproxy("timeout server")) > DEFAULT_OF["deadline_s"].default
    assert seconds(haproxy("timeout client")) > DEFAULT_OF["upload_idle_s"].default


def test_the_proxy_takes_over_the_port_of_the_scaled_service() -> None:
    assert SCALED["services"]["api"]["ports"] == []
    assert SCALED["services"]["api"]["scale"] > 1
    published = API["ports"][0].split("}:")[0]
    assert SERVICES["proxy"]["ports"] == [f"{published}}}:8080"]
    assert "bind :8080" in HAPROXY
    assert set(re.findall(r"\$\{(\w+)\}", HAPROXY)) == set(SERVICES["proxy"]["environment"])


@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_haproxy_accepts_its_configuration() -> None:
    environment = os.environ | {"DNS": "127.0.0.11:53", "API_PORT": "8000"}
    command = ["haproxy", "-c", "-f", "deploy/haproxy/haproxy.cfg"]
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
