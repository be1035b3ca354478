"""The model behind the service: loads it, checks that it works, and stops it."""

import asyncio
import contextlib
import logging
import math
import re
import tempfile
from contextlib import aclosing
from typing import NamedTuple

from app.admission import Admission
from app.artifacts import Artifact, ArtifactError, UnprovenError
from app.cpu import this_cpu
from app.errors import LOADING, STOPPING, AsrError, InvalidParameter, NotReady
from app.keywords import FIELD as KEYWORDS_FIELD
from app.live.streams import LiveStreams
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
from app.recognizer import UNCHECKED
from app.runtimes.registry import AUTO
from app.selection import no_backend, rank_backends
from app.settings import Settings
from app.transcriber import Transcriber

logger = logging.getLogger("dikte")

STUCK_CANARIES = 4
"""A window that is computed for longer than this many times `ASR_CANARY_S` is stuck; a normal one takes a second or
two."""


class LoadedModel(NamedTuple):
    """A model whose recognizers are warmed up. backend: a key of `app.runtimes.registry.BACKENDS`."""

    artifact: Artifact
    backend: str
    lanes: Lanes


class Service:
    """Loads the model in the background: the service is alive at once and says why it is not ready yet."""

    def __init__(self, settings: Settings, metrics: Metrics) -> None:
        self.settings = settings
        self.artifact: Artifact | None = None
        self.backend: str = settings.backend
        """The backend that serves; until the model is loaded, the one in the settings, which may be `auto`."""
        self.admission = admission = Admission(
            settings.max_queue_s,
            self._window_s,
            settings.max_uploads,
            speed=self.speed,
            wait_s=self._wait_s,
            bulk_wait_s=self._bulk_wait_s,
            on_refused=metrics.refused,
        )
        self.live = LiveStreams(admission, self.speed, settings.live_limits, metrics.live)
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
        """Why the service is not ready; None if it is ready."""
        return self._reason or self._shortage

    @property
    def transcriber(self) -> Transcriber:
        """The transcriber. Raises NotReady, with the reason, while the model is loading or does not work."""
        if self._transcriber is None or self.reason is not None:
            raise NotReady(self.reason or STOPPING)
        return self._transcriber

    @property
    def model_name(self) -> str:
        """Name of the loaded model; until it is loaded, the name in the settings."""
        return self.artifact.name if self.artifact is not None else without_folders(self.settings.model_dir)

    @property
    def model_created(self) -> int:
        """When the model was made, in seconds since 1970; 0 if that is not known."""
        return 0 if self.artifact is None else self.artifact.created

    @property
    def language(self) -> str | None:
        """ISO 639 code of the model's language, if its model card names one."""
        return None if self.artifact is None else self.artifact.language

    @property
    def unproven_reasons(self) -> list[str]:
        """Why the model would be refused without `ASR_ALLOW_UNPROVEN`."""
        return [] if self.artifact is None else [without_folders(reason) for reason in self.artifact.unproven_reasons]

    @property
    def idle(self) -> bool:
        """Whether all admitted requests are answered."""
        return self.admission.requests == 0

    def speed(self) -> float:
        """Measured seconds of audio computed per second with all workers busy; 1 before the first measurement."""
        transcriber = self._transcriber
        return 1.0 if transcriber is None else transcriber.scheduler.speed(transcriber.lanes)

    def _window_s(self) -> float:
        return math.inf if self._transcriber is None else self._transcriber.lanes.express.window_s

    def _wait_s(self, duration_s: float) -> float:
        transcriber = self._transcriber
        return 0.0 if transcriber is None else transcriber.scheduler.wait_s(transcriber.lanes, duration_s)

    def _bulk_wait_s(self) -> float:
        return 0.0 if self._transcriber is None else self._transcriber.scheduler.bulk_wait_s()

    def start(self) -> None:
        """Start to load the model in the background, and then to check it regularly."""
        self._running = asyncio.create_task(self._run())

    async def _run(self) -> None:
        settings = self.settings
        try:
            logger.info("this CPU: %s", this_cpu())
            check_temporary_files()
            artifact, self.backend, lanes = await asyncio.to_thread(load_model, settings)
        except ArtifactError as error:
            # The service stays alive, so that `/readyz` can say what is wrong.
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
            self._set_readiness(await self._check_engine(self._transcriber))
            if self.idle:
                await asyncio.to_thread(return_freed_memory)
            await asyncio.sleep(settings.canary_s)

    def _set_readiness(self, failure: str | None) -> None:
        """Apply the result of a canary check, unless the service is stopping."""
        if self._reason == STOPPING or failure == self._reason:
            return
        self._reason = failure
        if failure is None:
            logger.info("ready: %s on %s, %d workers", self.model_name, self.backend, self.settings.workers)
        else:
            logger.error("not ready: %s", failure)

    async def _check_engine(self, transcriber: Transcriber) -> str | None:
        """Why the engine does not work: a window takes too long, or a second of noise fails. None if it works."""
        limit_s = self.settings.canary_s
        if transcriber.scheduler.longest_run_s > limit_s * STUCK_CANARIES:
            return f"the engine has been computing one window for more than {limit_s * STUCK_CANARIES:g} s"
        lanes = transcriber.lanes
        noise = warm_up_window(lanes.express)
        try:
            async with (
                asyncio.timeout(limit_s),
                aclosing(transcriber.scheduler.compute(lanes, [noise], UNCHECKED, first=True)) as outputs,
            ):
                async for output in outputs:
                    lanes.express.check(noise, output)
        except TimeoutError:
            return f"the engine did not answer within {limit_s:g} s"
        except (AsrError, ArtifactError) as error:
            return f"the engine fails: {error}"
        except Exception:
            logger.exception("the check of the engine failed")
            return "the check of the engine failed; the service's log says why"
        return None

    def report_shortage(self, shortage: str | None) -> None:
        """Make the service not ready because of a resource shortage, until it is reported as None."""
        if shortage == self._shortage:
            return
        self._shortage = shortage
        if shortage is None:
            logger.info("no shortage any more")
        else:
            logger.error("not ready: %s", shortage)

    def drain(self) -> None:
        """Stop admitting requests and become not ready; admitted requests are still answered, until `idle`.

        Live streams end: running utterances get their finals.
        """
        self._reason = STOPPING
        self.admission.close()
        self.live.drain()

    async def stop(self) -> None:
        """Stop admitting requests and end the worker threads."""
        self.drain()
        if self._running is not None:
            self._running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._running
        transcriber, self._transcriber = self._transcriber, None
        if transcriber is not None:
            await asyncio.to_thread(transcriber.close)


def check_temporary_files() -> None:
    """Raises ArtifactError if no temporary files can be written, as in some read-only containers.

    Large uploads need them.
    """
    try:
        tempfile.TemporaryFile().close()
    except OSError as error:
        raise ArtifactError(
            "no temporary files can be written: mount a folder in memory at /tmp, or set TMPDIR"
        ) from error


def load_model(settings: Settings) -> LoadedModel:
    """Open the model and load the configured backend or, for `auto`, the fastest one on this machine.

    Raises ArtifactError with what to do about it. With `allow_unproven`, missing or failed proofs are only logged.
    """
    try:
        folder = find_model_folder(settings.model_dir, settings.backend, settings.language_model)
        model = open_model(folder, settings.allow_unproven)
        if settings.backend == AUTO:
            return load_fastest(model, settings)
        return load_backend(model, settings.backend, settings)
    except UnprovenError as error:
        raise ArtifactError(f"{error} (ASR_ALLOW_UNPROVEN=true uses it anyway)") from error


def load_fastest(model: Model, settings: Settings) -> LoadedModel:
    """Load the fastest backend that works here. Raises ArtifactError, with a reason for each backend, if none does."""
    errors: dict[str, ArtifactError] = {}
    for backend in rank_backends(model, settings.workers, settings.threads):
        try:
            return load_backend(model.trial_copy(), backend, settings)
        except ArtifactError as error:
            logger.error("ASR_BACKEND=auto: %s is left out: %s", backend, error)
            errors[backend] = error
    raise no_backend(model.artifact, errors)


def load_backend(model: Model, backend: str, settings: Settings) -> LoadedModel:
    """Check a backend's proofs, load and warm up its recognizers, and check that they reproduce the evidence.

    Raises ArtifactError.
    """
    check_proofs(model, backend)
    lanes = load_for_lanes(model, backend, settings.threads, settings.windowing)
    try:
        lanes.express.check_options(settings.options)
    except InvalidParameter as error:
        setting = "ASR_KEYWORDS" if error.details.get("field") == KEYWORDS_FIELD else "ASR_LANGUAGE, ASR_LANGUAGES"
        raise ArtifactError(f"{error.message} ({setting})") from error
    lanes.express.decoder(settings.options)  # reads the language model, if there is one
    for recognizer in lanes.distinct:
        warm_up(recognizer, model.artifact)
        check_evidence(recognizer, model.artifact, backend)
    return LoadedModel(model.artifact, backend, lanes)


def without_folders(text: str) -> str:
    """The text with every absolute path reduced to its last part: clients do not learn where files are."""
    return re.sub(r"(?<![\w./])/(?!/)(?:[^\s:'\"`/]+/)*(?=[^\s/])", "", text)
