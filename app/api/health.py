"""Liveness and readiness of the service."""

from typing import Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from app.api.errors import error_responses
from app.cpu import this_cpu
from app.errors import NotReady
from app.service import Service

router = APIRouter(tags=["health"])


class AliveBody(BaseModel):
    """The process is alive."""

    status: Literal["alive"] = "alive"


class ReadyBody(BaseModel):
    """The model is loaded, checked and warmed up."""

    model_config = ConfigDict(extra="allow")

    status: Literal["ready"] = "ready"
    model: str
    backend: str
    unproven: list[str] | None = Field(default=None, description="Only with ASR_ALLOW_UNPROVEN: the failed checks.")


@router.get("/livez", summary="Is the process alive?")
async def livez() -> AliveBody:
    """Answers as long as the process can answer at all, whatever the state of the model."""
    return AliveBody()


@router.get("/readyz", summary="May requests be sent?", response_model=ReadyBody, responses=error_responses(NotReady))
async def readyz(request: Request) -> JSONResponse:
    """200 once the model is loaded, checked and warmed up; until then 503 with the reason.

    `cpu`: the CPU of the machine, and its instructions for INT8 and bfloat16. `unproven` is present only if the model
    is served despite failed checks: it lists them.
    """
    service: Service = request.app.state.service
    cpu = {"model": this_cpu().model, "features": list(this_cpu().features)}
    if service.reason is not None:
        raise NotReady(service.reason, cpu=cpu)
    state = {"status": "ready", "model": service.model_name, "backend": service.backend, "cpu": cpu}
    return JSONResponse(state | ({"unproven": service.unproven_reasons} if service.unproven_reasons else {}))
