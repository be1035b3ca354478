"""Model families: `FAMILIES` maps the `model_type` in a checkpoint's `config.json` to the family that reads it.

To add one, write a module with a class that implements `Family` and add its model types here.
"""

from collections.abc import Callable, Mapping

from app.artifacts import CONFIG_NAME, Artifact, ArtifactError
from app.families.ctc import MODEL_TYPES as CTC_TYPES
from app.families.ctc import CtcFamily
from app.families.family import Family
from app.families.whisper import MODEL_TYPE as WHISPER_TYPE
from app.families.whisper import WhisperFamily

FAMILIES: Mapping[str, Callable[[Artifact], Family]] = {
    **dict.fromkeys(CTC_TYPES, CtcFamily),
    WHISPER_TYPE: WhisperFamily,
}
"""`model_type` -> function that opens the family on an artifact and reads its settings. It raises ArtifactError."""


def open_family(artifact: Artifact) -> Family:
    """Read the settings of an artifact or checkpoint with the family of its model type.

    Raises ArtifactError if the family is unknown or the settings are missing or broken; UnprovenError if the settings
    differ from the manifest, unless that is allowed.
    """
    model_type = str(artifact.read_json(CONFIG_NAME).get("model_type"))
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ArtifactError(f"the model in {artifact.folder} has the type {model_type!r}; known types: {known}")
    return FAMILIES[model_type](artifact)


__all__ = ["FAMILIES", "Family", "open_family"]
