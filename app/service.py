"""The model behind the service: loading it, and whether it may be used."""

import asyncio
import logging

from app.artifacts import Artifact, ArtifactError, open_artifact
from app.asr import Engine, find_model_folder, load_engine, warm_up
from app.errors import NotReady
from app.scheduler import Scheduler
from app.settings import Settings
from app.transcriber import Transcriber

logger = logging.getLogger("dikte")


class Service:
    """Loads the model in the background, so that the service is alive at once and says why it is not ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.artifact: Artifact | None = None
        self._transcriber: Transcriber | None = None
        self._scheduler: Scheduler | None = None
        self._reason = "the model is being loaded"

    @property
    def reason(self) -> str | None:
        """Why the service is not ready; None when it is."""
        return None if self._transcriber is not None else self._reason

    @property
    def transcriber(self) -> Transcriber:
        """Raises NotReady, with the reason, until the model is loaded and warm."""
        if self._transcriber is None:
            raise NotReady(self._reason)
        return self._transcriber

    @property
    def model_name(self) -> str:
        """The loaded model's name; before it is loaded, what the settings call it."""
        return self.artifact.name if self.artifact is not None else self.settings.model_dir

    async def start(self) -> None:
        """Load and warm up the model. A model that cannot be served leaves the service alive and not ready."""
        settings = self.settings
        try:
            artifact, engine = await asyncio.to_thread(load_model, settings)
        except ArtifactError as error:
            self._reason = str(error)
            logger.error("not ready: %s", error)
            return
        self.artifact = artifact
        self._scheduler = Scheduler(engine, settings.workers, settings.max_queue_s)
        self._transcriber = Transcriber(
            artifact, self._scheduler, settings.audio_limits, settings.window_s, settings.overlap_s
        )
        logger.info("ready: %s on %s, %d workers", artifact.name, settings.backend, settings.workers)

    def stop(self) -> None:
        """Take no more requests and end the worker threads."""
        self._transcriber = None
        self._reason = "the service is stopping"
        if self._scheduler is not None:
            self._scheduler.close()


def load_model(settings: Settings) -> tuple[Artifact, Engine]:
    """Open the artifact, load its engine and warm it up. Raises ArtifactError with what to do."""
    artifact = open_artifact(find_model_folder(settings.model_dir, settings.backend))
    engine = load_engine(artifact, settings.backend, settings.threads)
    warm_up(engine, artifact)
    return artifact, engine
