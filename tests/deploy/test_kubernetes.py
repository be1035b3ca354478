"""The manifests have the ports, paths and settings of the service, and give it time to shut down."""

from typing import Any

import pytest

from app.settings import Settings
from scripts.common.dockerfile import parse
from tests.conftest import Client
from tests.deploy.files import ROOT, Yaml, read_all_yaml, read_yaml

DOCUMENTS = {document["kind"]: document for document in read_all_yaml("deploy/kubernetes/dikte.yaml")}
POD: Yaml = DOCUMENTS["Deployment"]["spec"]["template"]["spec"]
(CONTAINER,) = POD["containers"]
LABELS = DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["labels"]


def test_one_of_each_kind() -> None:
    kinds = {"ConfigMap", "Deployment", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"}
    assert kinds == DOCUMENTS.keys()


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_use_paths_that_the_service_answers(client: Client, probe: str) -> None:
    ask = CONTAINER[probe]["httpGet"]
    assert ask["port"] in {port["name"] for port in CONTAINER["ports"]}
    assert client.get(ask["path"]).status_code == 200


def test_a_service_that_is_busy_or_not_ready_is_not_restarted() -> None:
    assert CONTAINER["livenessProbe"]["httpGet"]["path"] == "/livez"
    assert CONTAINER["readinessProbe"]["httpGet"]["path"] == "/readyz"


def test_everything_selects_the_same_pods() -> None:
    selectors: list[dict[str, Any]] = [
        DOCUMENTS["Deployment"]["spec"]["selector"]["matchLabels"],
        DOCUMENTS["Service"]["spec"]["selector"],
        DOCUMENTS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(selector == LABELS for selector in selectors)
    assert DOCUMENTS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "dikte"


def test_ports_are_those_of_the_service() -> None:
    port = Settings.model_fields["port"].default
    assert CONTAINER["ports"] == [{"name": "http", "containerPort": port}]
    assert DOCUMENTS["Service"]["spec"]["ports"][0]["targetPort"] == "http"
    assert DOCUMENTS["Deployment"]["spec"]["template"]["metadata"]["annotations"]["prometheus.io/port"] == str(port)


def test_settings_are_those_of_the_service() -> None:
    values: dict[str, str] = DOCUMENTS["ConfigMap"]["data"]
    settings = {name.removeprefix("ASR_").lower(): value for name, value in values.items()}
    assert settings.keys() <= Settings.model_fields.keys()
    Settings.model_validate(settings)


def test_services_in_the_namespace_do_not_set_variables() -> None:
    assert POD["enableServiceLinks"] is False


def test_it_has_time_to_answer_accepted_requests() -> None:
    pause_s = float(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    grace_s = float(DOCUMENTS["ConfigMap"]["data"]["ASR_GRACE_S"])
    assert POD["terminationGracePeriodSeconds"] > pause_s + grace_s


def test_it_runs_as_the_user_of_the_image_and_is_hardened() -> None:
    _, stages = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
    user = next(step.rest for step in stages[-1].steps if step.name == "USER")
    assert user == f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}"
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_kustomize_renames_the_image() -> None:
    kustomization = read_yaml("deploy/kubernetes/kustomization.yaml")
    assert kustomization["images"][0]["name"] == CONTAINER["image"]
    assert all((ROOT / "deploy/kubernetes" / name).is_file() for name in kustomization["resources"])
