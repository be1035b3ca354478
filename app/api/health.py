"""Is it alive, is it ready, and what is it."""

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app import __version__
from app.api.errors import error_responses
from app.cpu import this_cpu
from app.errors import NotReady
from app.service import Service

router = APIRouter(tags=["health"])


class AliveBody(BaseModel):
    """The process lives."""

    status: Literal["alive"] = "alive"


class ReadyBody(BaseModel):
    """The model is loaded, checked and warm."""

    model_config = ConfigDict(extra="allow")

    status: Literal["ready"] = "ready"
    model: str
    backend: str
    unproven: list[str] | None = Field(default=None, description="Only with ASR_ALLOW_UNPROVEN: what the checks said.")


class AboutBody(BaseModel):
    """What this is, and where to go on."""

    name: Literal["dikte"] = "dikte"
    version: str
    model: str
    backend: str
    ready: bool
    transcribe: str = Field(description="A command.")
    docs: str = Field(description="An address.")


@router.get("/livez", summary="Is the process alive?")
async def livez() -> AliveBody:
    """Answers as long as the process can answer at all, whatever the model's state."""
    return AliveBody()


@router.get("/readyz", summary="May requests be sent?", response_model=ReadyBody, responses=error_responses(NotReady))
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
async def root(request: Request) -> AboutBody:
    """Name, version, model and where to go on."""
    service: Service = request.app.state.service
    return AboutBody(
        version=__version__,
        model=service.model_name,
        backend=service.backend,
        ready=service.reason is None,
        transcribe=f"curl -F file=@sound.wav {request.base_url}transcribe",
        docs=f"{request.base_url}docs",
    )
