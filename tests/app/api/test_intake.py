"""What holds for every surface, also for those that are to come."""

from collections.abc import Iterable, Iterator
from typing import Any

from fastapi import FastAPI, Request
from starlette.routing import BaseRoute, Route

from app.api.forms import UploadForm
from app.api.intake import SurfaceRoute, surface, take_in
from app.api.paths import is_deepgram, is_openai
from app.main import create_app
from app.settings import Settings
from tests.app.api.test_outcomes import outcomes
from tests.conftest import Client, ServiceFactory, assert_deepgram_error, assert_error
from tests.sounds import speechlike, wav

NO_SURFACES = {"/", "/livez", "/readyz", "/metrics", "/docs", "/docs/oauth2-redirect", "/openapi.json", "/page/{name}"}


def other_surface(app: FastAPI) -> None:
    """An API that answers with the number of words."""
    router = surface()

    @router.post("/count")
    async def count(request: Request) -> int:
        async with take_in(request, UploadForm) as intake:
            return len((await intake.transcribe()).words)

    app.include_router(router)


def post(client: Client, sound: bytes) -> int:
    return int(client.post("/count", files={"file": sound}).json())


def all_routes(routes: Iterable[Any]) -> Iterator[BaseRoute]:
    """Those of included routers too."""
    for route in routes:
        router = getattr(route, "original_router", None)
        yield from [route] if router is None else all_routes(router.routes)


def test_every_route_but_those_that_look_after_the_service_is_one_of_a_surface() -> None:
    """So that none is served without a key, or forgotten by the metrics."""
    routes = [route for route in all_routes(create_app(Settings()).routes) if isinstance(route, Route)]
    assert {route.path for route in routes if not isinstance(route, SurfaceRoute)} == NO_SURFACES
    assert {route.path for route in routes if isinstance(route, SurfaceRoute)} >= {"/transcribe"}


def test_every_surface_asks_for_a_key(serve: ServiceFactory) -> None:
    with serve(api_keys="alpha") as client:
        for route in all_routes(client.app.routes):
            if isinstance(route, SurfaceRoute):
                for method in route.methods or ():
                    answer = client.request(method, route.path)
                    if is_deepgram(route.path):
                        assert_deepgram_error(answer, 401, "INVALID_AUTH")
                    else:
                        assert_error(answer, 401, "invalid_api_key" if is_openai(route.path) else "unauthorized")


def test_a_new_surface_transcribes_and_is_counted(serve: ServiceFactory) -> None:
    with serve() as client:
        other_surface(client.app)
        assert post(client, wav(speechlike(3))) == 3
        assert_error(client.post("/count", files={"file": b"no sound"}), 415, "unsupported_media")
        assert_error(client.post("/count", files={"file": b"x"}, data={"a": "b"}), 422, "invalid_parameter")
        assert_error(
            client.post("/count", files={"file": b"x"}, headers={"X-Request-Timeout": "-1"}), 422, "invalid_parameter"
        )
        assert outcomes(client) == {"ok": 1, "unsupported_media": 1, "invalid_parameter": 2}
        assert 'dikte_audio_seconds_total{outcome="transcribed"} 3.0' in client.get("/metrics").text
