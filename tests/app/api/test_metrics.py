import pytest

from tests.app.test_metrics import samples
from tests.conftest import Client


def test_prometheus_can_read_it(client: Client) -> None:
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert samples(answer.text)['dikte_requests_total{outcome="ok"}'] == 0


def test_openmetrics_on_request(client: Client) -> None:
    answer = client.request("GET", "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")


@pytest.mark.parametrize("version", ["", "x", "1.0.0 x", "99.9.9.9"])
@pytest.mark.parametrize("kind", ["text/plain", "application/openmetrics-text"])
def test_a_broken_accept_header_does_no_harm(client: Client, kind: str, version: str) -> None:
    assert client.request("GET", "/metrics", headers={"Accept": f"{kind}; version={version}"}).status_code == 200


def test_openapi_says_that_it_is_text(client: Client) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/metrics"]["get"]
    assert list(operation["responses"]["200"]["content"]) == ["text/plain", "application/openmetrics-text"]
