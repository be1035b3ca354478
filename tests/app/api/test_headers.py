import re
from base64 import b64encode
from hashlib import sha256

import httpx
import pytest

from app.api.paths import DOCS, STATIC_FILES
from app.service import Service
from tests.conftest import Client
from tests.sounds import speechlike, wav


def answers(client: Client, monkeypatch: pytest.MonkeyPatch) -> dict[str, httpx.Response]:
    """One of each kind: what a handler, the router, an error handler and a bug say."""
    sound = wav(speechlike(1))
    kinds = {
        "transcript": client.post("/transcribe", files={"file": sound}),
        "error": client.post("/transcribe", files={"file": b"no sound at all"}),
        "not found": client.get("/nothing"),
        "wrong method": client.get("/transcribe"),
        "metrics": client.get("/metrics"),
        "docs": client.get(DOCS),
        "static file": client.get(f"{STATIC_FILES}swagger-ui.css"),
        "no static file": client.get(f"{STATIC_FILES}nothing.css"),
    }

    def fail(service: Service) -> None:
        raise RuntimeError

    with monkeypatch.context() as broken:
        broken.setattr(Service, "transcriber", property(fail))
        kinds["bug"] = client.post("/transcribe", files={"file": sound})
    assert kinds["bug"].status_code == 500
    return kinds


def test_every_answer_has_them(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind, answer in answers(client, monkeypatch).items():
        assert answer.headers["x-content-type-options"] == "nosniff", kind
        assert answer.headers["x-frame-options"] == "DENY", kind
        assert answer.headers["referrer-policy"] == "no-referrer", kind
        assert re.fullmatch("[0-9a-f]{32}", answer.headers["x-request-id"]), kind
        assert answer.headers.get("cache-control") == (None if "static" in kind else "no-store"), kind
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy, kind
        assert policy.startswith("default-src 'none'"), kind
        assert ("script-src" in policy) is (kind == "docs"), kind


def test_swagger_ui_may_run_its_own_scripts_and_no_others(client: Client) -> None:
    page = client.get(DOCS)
    policy = dict(part.strip().split(" ", 1) for part in page.headers["content-security-policy"].split(";"))
    inline = re.findall(r"<script>(.*?)</script>", page.text, re.DOTALL)
    assert inline
    hashes = [f"'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" for script in inline]
    assert policy["script-src"].split() == ["'self'", *hashes]
    assert policy["connect-src"] == "'self'"


def test_a_page_is_answered_to_head_too(client: Client) -> None:
    assert client.request("HEAD", DOCS).status_code in {200, 405}
