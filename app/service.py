"""The model behind the service: loading it, whether it may be used, who is let in, and the end of it all."""

import asyncio
import contextlib
import logging
import re
import tempfile
from contextlib import aclosing
from typing import NamedTuple

from app.admission import Admission
from app.artifacts import Artifact, ArtifactError, UnprovenError
from app.cpu import this_cpu
from app.errors import LOADING, STOPPING, AsrError, NotReady
from app.memory import return_freed_memory
from app.metrics import Metrics
from app.models import (
    Lanes,
    Model,
    check_evidence,
    check_proofs,
    find_model_folder,
    load_for_lanes,
    open_model,
    warm_up,
    warm_up_window,
)
from app.runtimes.registry import AUTO
from app.selection import no_backend, rank_backends
from app.settings import Settings
from app.transcriber import Transcriber

logger = logging.getLogger("dikte")

STUCK_CANARIES = 4
"""After so many times `ASR_CANARY_S` a window that is still being computed is stuck; they take a second or two."""


class LoadedModel(NamedTuple):
    """A model whose recognizers are warm. backend: a key of `app.runtimes.registry.BACKENDS`."""

    artifact: Artifact
    backend: str
    lanes: Lanes


class Service:
    """Loads the model in the background, so that the service is alive at once and says why it is not ready."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.artifact: Artifact | None = None
        self.backend: str = settings.backend
        """The engine that serves; before the model is loaded, what the settings say, which may be `auto`."""
        self.admission = admission = Admission(
            settings.max_queue_s,
            settings.window_s,
            settings.max_uploads,
            speed=self.speed,
            wait_s=self._wait_s,
            bulk_wait_s=self._bulk_wait_s,
            refused=metrics.refused,
        )
        self._metrics = metrics
        self._transcriber: Transcriber | None = None
        self._reason: str | None = LOADING
        self._shortage: str | None = None
        self._running: asyncio.Task[None] | None = None
        metrics.watch(
            queue_s=lambda: admission.queued_s,
            queue_limit_s=lambda: settings.max_queue_s,
            uploads=lambda: admission.uploads,
            rtfx=self.speed,
            ready=lambda: float(self.reason is None),
        )

    @property
    def reason(self) -> str | None:
        """Why the service is not ready; None when it is."""
        return self._reason or self._shortage

    @property
    def transcriber(self) -> Transcriber:
        """Raises NotReady, with the reason, until the model is loaded and warm, and when its engine is stuck."""
        if self._transcriber is None or self.reason is not None:
            raise NotReady(self.reason or STOPPING)
        return self._transcriber

    @property
    def model_name(self) -> str:
        """The loaded model's name; before it is loaded, what the settings call it."""
        return self.artifact.name if self.artifact is not None else without_folders(self.settings.model_dir)

    @property
    def doubts(self) -> list[str]:
        """Why the model would not be served, had `ASR_ALLOW_UNPROVEN` not been set."""
        return [without_folders(doubt) for doubt in self.artifact.doubts] if self.artifact is not None else []

    @property
    def idle(self) -> bool:
        """Whether every request that was let in is answered."""
        return self.admission.requests == 0

    def speed(self) -> float:
        """Seconds of sound computed per second when all workers are busy, as measured; 1 before that."""
        transcriber = self._transcriber
        return 1.0 if transcriber is None else transcriber.scheduler.speed(transcriber.lanes)

    def _wait_s(self, duration_s: float) -> float:
        transcriber = self._transcriber
        return 0.0 if transcriber is None else transcriber.scheduler.wait_s(transcriber.lanes, duration_s)

    def _bulk_wait_s(self) -> float:
        return 0.0 if self._transcriber is None else self._transcriber.scheduler.bulk_wait_s()

    def start(self) -> None:
        """Begin to load the model, and then to look after it."""
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        settings = self.settings
        try:
            logger.info("this CPU: %s", this_cpu())
            check_temporary_files()
            artifact, self.backend, lanes = await asyncio.to_thread(load_model, settings)
        except ArtifactError as error:
            # A model that cannot be served leaves the service alive and not ready.
            self._reason = without_folders(str(error))
            logger.error("not ready: %s", error)
            return
        except Exception:
            self._reason = "the model could not be loaded; the service's log says why"
            logger.exception("not ready: the model could not be loaded")
            return
        self.artifact = artifact
        self._transcriber = Transcriber.from_settings(lanes, settings, self._metrics.computed)
        self._metrics.loaded(artifact.name, self.backend)
        while True:
            self._judge(await self._failure(self._transcriber))
            if self.idle:
                await asyncio.to_thread(return_freed_memory)
            await asyncio.sleep(settings.canary_s)

    def _judge(self, failure: str | None) -> None:
        """Ready or not, by what the canary says, unless the service is stopping."""
        if self._reason == STOPPING or failure == self._reason:
            return
        self._reason = failure
        if failure is None:
            logger.info("ready: %s on %s, %d workers", self.model_name, self.backend, self.settings.workers)
        else:
            logger.error("not ready: %s", failure)

    async def _failure(self, transcriber: Transcriber) -> str | None:
        """What is wrong with the engine: a window that takes too long, or a second of noise that is not computed."""
        limit_s = self.settings.canary_s
        if transcriber.scheduler.longest_run_s > limit_s * STUCK_CANARIES:
            return f"the engine has been computing one window for more than {limit_s * STUCK_CANARIES:g} s"
        lanes = transcriber.lanes
        noise = warm_up_window(lanes.express)
        try:
            async with (
                asyncio.timeout(limit_s),
                aclosing(transcriber.scheduler.hear(lanes, [noise], first=True)) as parts,
            ):
                async for heard in parts:
                    lanes.express.check(noise, heard)
        except TimeoutError:
            return f"the engine did not answer within {limit_s:g} s"
        except (AsrError, ArtifactError) as error:
            return f"the engine fails: {error}"
        except Exception:
            logger.exception("the check of the engine failed")
            return "the check of the engine failed; the service's log says why"
        return None

    def report_shortage(self, shortage: str | None) -> None:
        """Be not ready because something runs short, until it is reported to be None."""
        if shortage == self._shortage:
            return
        self._shortage = shortage
        if shortage is None:
            logger.info("no shortage any more")
        else:
            logger.error("not ready: %s", shortage)

    def drain(self) -> None:
        """Be not ready and let nobody in; who is in will be answered. `idle` tells when that is done."""
        self._reason = STOPPING
        self.admission.close()

    async def stop(self) -> None:
        """Take no more requests and end the worker threads."""
        self.drain()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        transcriber, self._transcriber = self._transcriber, None
        if transcriber is not None:
            await asyncio.to_thread(transcriber.close)


def check_temporary_files() -> None:
    """Raises ArtifactError if there is no folder for large uploads, which a read-only container may lack."""
    try:
        tempfile.TemporaryFile().close()  # to see whether it can be
    except OSError as error:
        raise ArtifactError(
            "no temporary files can be written: mount a folder in memory at /tmp, or set TMPDIR"
        ) from error


def load_model(settings: Settings) -> LoadedModel:
    """Open the model, and load the backend that is set or, if that is `auto`, the fastest here.

    Raises ArtifactError with what to do. With `allow_unproven` what is unproven is only logged.
    """
    try:
        model = open_model(find_model_folder(settings.model_dir, settings.backend), settings.allow_unproven)
        if settings.backend == AUTO:
            return load_fastest(model, settings)
        return load_backend(model, settings.backend, settings)
    except UnprovenError as error:
        raise ArtifactError(f"{error} (ASR_ALLOW_UNPROVEN=true uses it all the same)") from error


def load_fastest(model: Model, settings: Settings) -> LoadedModel:
    """The fastest backend here that can be loaded. Raises ArtifactError, with the reason for each, if none can."""
    errors: dict[str, ArtifactError] = {}
    for backend in rank_backends(model, settings.workers, settings.threads):
        try:
            return load_backend(model.to_try(), backend, settings)
        except ArtifactError as error:
            logger.error("ASR_BACKEND=auto: %s is left out: %s", backend, error)
            errors[backend] = error
    raise no_backend(model.artifact, errors)


def load_backend(model: Model, backend: str, settings: Settings) -> LoadedModel:
    """Check what is proven of a backend, load its recognizers, warm them up, and check that they say what was proven.

    Raises ArtifactError.
    """
    check_proofs(model, backend)
    lanes = load_for_lanes(model, backend, settings.threads, settings.windowing)
    for recognizer in lanes.distinct:
        warm_up(recognizer, model.artifact)
        check_evidence(recognizer, model.artifact, backend)
    return LoadedModel(model.artifact, backend, lanes)


def without_folders(text: str) -> str:
    """The text with only the last part of each absolute path: where things lie is not told to clients."""
    return re.sub(r"(?<![\w./])/(?!/)(?:[^\s:'\"`/]+/)*(?=[^\s/])", "", text)
