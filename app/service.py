"""The model behind the service: loading it, and whether it may be used."""

import asyncio
import logging
import re

from app.artifacts import Artifact, ArtifactError, UnprovenError, open_artifact
from app.asr import Engine, find_model_folder, load_engine, warm_up
from app.errors import NotReady
from app.settings import Settings
from app.transcriber import Transcriber

logger = logging.getLogger("dikte")


class Service:
    """Loads the model in the background, so that the service is alive at once and says why it is not ready."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.artifact: Artifact | None = None
        self._transcriber: Transcriber | None = None
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
        return self.artifact.name if self.artifact is not None else without_folders(self.settings.model_dir)

    @property
    def doubts(self) -> list[str]:
        """Why the model would not be served, had `ASR_ALLOW_UNPROVEN` not been set."""
        return [without_folders(doubt) for doubt in self.artifact.doubts] if self.artifact is not None else []

    async def start(self) -> None:
        """Load and warm up the model. A model that cannot be served leaves the service alive and not ready."""
        settings = self.settings
        try:
            artifact, engine = await asyncio.to_thread(load_model, settings)
        except ArtifactError as error:
            self._reason = without_folders(str(error))
            logger.error("not ready: %s", error)
            return
        self.artifact = artifact
        self._transcriber = Transcriber.from_settings(artifact, engine, settings)
        logger.info("ready: %s on %s, %d workers", artifact.name, settings.backend, settings.workers)

    def stop(self) -> None:
        """Take no more requests and end the worker threads."""
        transcriber, self._transcriber = self._transcriber, None
        self._reason = "the service is stopping"
        if transcriber is not None:
            transcriber.close()


def load_model(settings: Settings) -> tuple[Artifact, Engine]:
    """Open the artifact, check what is proven of it, load its engine and warm it up.

    Raises ArtifactError with what to do. With `allow_unproven` what is unproven is only logged.
    """
    try:
        artifact = open_artifact(find_model_folder(settings.model_dir, settings.backend), settings.allow_unproven)
        artifact.check_proofs(settings.backend)
        engine = load_engine(artifact, settings.backend, settings.threads)
    except UnprovenError as error:
        raise ArtifactError(f"{error} (ASR_ALLOW_UNPROVEN=true uses it all the same)") from error
    warm_up(engine, artifact)
    return artifact, engine


def without_folders(text: str) -> str:
    """The text with only the last part of each absolute path: where things lie is not told to clients."""
    return re.sub(r"(?<![\w./])/(?!/)(?:[^\s:'\"`/]+/)*(?=[^\s/])", "", text)
