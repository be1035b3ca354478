"""What this service is: its version, its model, the model's proofs and its speed on this machine."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError

from app import __version__
from app.cpu import this_cpu
from app.recognizer import refused_options
from app.service import Service


class RateBody(BaseModel):
    """An error rate with its 95 % confidence interval."""

    rate: float
    low: float
    high: float


class AccuracyBody(BaseModel):
    """The error rates of the model on one set of clips, measured when it was exported."""

    set: str
    clips: int
    wer: RateBody
    cer: RateBody


class CpuBody(BaseModel):
    """The CPU of the machine, and its instructions for INT8 and bfloat16."""

    model: str
    features: list[str]


class OptionsBody(BaseModel):
    """What requests may ask of the loaded model."""

    detects_language: bool = Field(description="Whether the model knows several languages.")
    times_words: bool = Field(description="Whether `timestamps=word` is possible.")
    translates: bool = Field(description="Whether `task=translate` is possible.")


class AboutBody(BaseModel):
    """What this service is, and where its documentation is."""

    name: Literal["dikte"] = "dikte"
    version: str
    model: str
    backend: str
    language: str | None = Field(description="ISO 639 code of the model's language, if its model card names one.")
    ready: bool
    proven: bool = Field(description="Whether the loaded model passed all of its proofs.")
    accuracy: list[AccuracyBody] = Field(description="Error rates of this model on this backend, from its manifest.")
    speed: float | None = Field(description="Seconds of audio computed per second here; null before the first one.")
    cpu: CpuBody
    options: OptionsBody
    key_required: bool = Field(description="Whether transcription needs an API key.")
    max_upload_bytes: int = Field(description="Largest request body, bytes.")
    transcribe: str = Field(description="A command that transcribes a file.")
    docs: str = Field(description="Address of the API documentation.")


def about(request: Request) -> AboutBody:
    """Everything that a person or a page wants to know before the first request."""
    service: Service = request.app.state.service
    settings = service.settings
    ready = service.reason is None
    manifest = {} if service.artifact is None else service.artifact.manifest
    return AboutBody(
        version=__version__,
        model=service.model_name,
        backend=service.backend,
        language=service.language,
        ready=ready,
        proven=ready and not service.unproven_reasons,
        accuracy=accuracy(manifest, service.backend, service.settings.language_model),
        speed=round(service.speed(), 1) if ready else None,
        cpu=CpuBody(model=this_cpu().model, features=list(this_cpu().features)),
        options=options(service),
        key_required=bool(settings.keys),
        max_upload_bytes=settings.max_upload_bytes,
        transcribe=f"curl -F file=@sound.wav {request.base_url}transcribe",
        docs=f"{request.base_url}docs",
    )


def options(service: Service) -> OptionsBody:
    """What the loaded model can be asked for; nothing while none is ready."""
    if service.reason is not None:
        return OptionsBody(detects_language=False, times_words=False, translates=False)
    recognizer, defaults = service.transcriber.lanes.express, service.settings.options
    refused = refused_options(recognizer, replace(defaults, task="translate", word_times=True), defaults)
    return OptionsBody(
        detects_language=recognizer.detects_language,
        times_words="word_times" not in refused,
        translates="task" not in refused,
    )


def accuracy(manifest: Mapping[str, Any], backend: str, language_model: bool = True) -> list[AccuracyBody]:
    """The error rates that a manifest has for a backend. A manifest without readable ones gives none.

    language_model: prefer those with the language model, if there is one.
    """
    modelled = language_model and "language_model" in manifest
    entry = manifest.get("language_model" if modelled else "proofs")
    sets = entry.get("accuracy") if isinstance(entry, dict) else None
    found = []
    for name, backends in sets.items() if isinstance(sets, dict) else ():
        try:
            figures = backends[backend]["with"] if modelled else backends[backend]
            found.append(AccuracyBody.model_validate({"set": set_name(name), **figures}))
        except (KeyError, TypeError, ValidationError):
            continue
    return found


def set_name(path: str) -> str:
    """The name of a set of clips, without its folders: `data/eval/seen/manifest.jsonl` is `seen`."""
    parts = PurePosixPath(path.replace("\\", "/"))
    return parts.parent.name if parts.stem in ("manifest", "metadata") and parts.parent.name else parts.stem
