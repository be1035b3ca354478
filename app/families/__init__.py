"""Model families: `FAMILIES` says which family reads a checkpoint, by the `model_type` in its `config.json`.

To add one, write a module with a class that is a `Family` and add its model types here.
"""

from collections.abc import Callable, Mapping

from app.artifacts import CONFIG_NAME, Artifact, ArtifactError
from app.families.ctc import MODEL_TYPES as CTC_TYPES
from app.families.ctc import CtcFamily
from app.families.family import Family

FAMILIES: Mapping[str, Callable[[Artifact], Family]] = dict.fromkeys(CTC_TYPES, CtcFamily)
"""`model_type` -> what opens the family on an artifact, reading its settings. It raises ArtifactError."""


def open_family(artifact: Artifact) -> Family:
    """Read the settings of an artifact, or a checkpoint, as its family has them.

    Raises ArtifactError if the family is not known, or the settings are missing or broken; UnprovenError if they are
    not those that the manifest describes, unless that is allowed.
    """
    model_type = str(artifact.read_json(CONFIG_NAME).get("model_type"))
    if model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ArtifactError(f"the model in {artifact.folder} is of the type {model_type!r}; known are {known}")
    return FAMILIES[model_type](artifact)


__all__ = ["FAMILIES", "Family", "open_family"]
