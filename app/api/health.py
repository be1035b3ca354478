"""Is it alive, is it ready, and what is it."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from app import __version__
from app.api.errors import error_responses
from app.cpu import this_cpu
from app.errors import NotReady
from app.service import Service

router = APIRouter(tags=["health"])


@router.get("/livez", summary="Is the process alive?")
async def livez() -> dict[str, str]:
    """Answers as long as the process can answer at all, whatever the model's state."""
    return {"status": "alive"}


@router.get("/readyz", summary="May requests be sent?", responses=error_responses(NotReady))
async def readyz(request: Request) -> JSONResponse:
    """200 once the model is loaded, checked and warm; until then 503 with the reason.

    `cpu`: the CPU that the service stands on, and its instructions for INT8 and bfloat16. `unproven` is there only if
    the model is served against the checks: what they said.
    """
    service: Service = request.app.state.service
    cpu = {"model": this_cpu().model, "features": list(this_cpu().features)}
    if service.reason is not None:
        raise NotReady(service.reason, cpu=cpu)
    state = {"status": "ready", "model": service.model_name, "backend": service.backend, "cpu": cpu}
    return JSONResponse(state | ({"unproven": service.doubts} if service.doubts else {}))


@router.get("/", summary="What is this?")
async def root(request: Request) -> dict[str, Any]:
    """Name, version, model and where to go on."""
    service: Service = request.app.state.service
    return {
        "name": "dikte",
        "version": __version__,
        "model": service.model_name,
        "backend": service.backend,
        "ready": service.reason is None,
        "transcribe": f"curl -F file=@sound.wav {request.base_url}transcribe",
        "docs": f"{request.base_url}docs",
    }
