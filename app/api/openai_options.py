"""What a request of OpenAI's API asks for and the model cannot honor: ignored and told, or refused (ASR_STRICT)."""

import logging
import re
from typing import Any

from app.api.intake import Intake
from app.api.openai_forms import FIELD_OF_OPTION, OpenAIForm, plain
from app.errors import InvalidParameter, ModelNotFound, UnsupportedValue
from app.recognizer import Options
from app.service import Service

logger = logging.getLogger("dikte")

IGNORED_HEADER = "X-Ignored-Parameters"
MODEL_HEADER = "openai-model"
SAFE_NAME = re.compile(r"[\w.-]{1,64}", re.ASCII)
"""Names that a header can carry."""


def honor(intake: Intake[Any], service: Service) -> dict[str, str]:
    """Drop the options that the model cannot honor. Returns the headers of the answer, which name them.

    Raises InvalidParameter for keywords that the model cannot write; UnsupportedValue if it cannot translate or, with
    ASR_STRICT, for anything else without effect; ModelNotFound, with ASR_STRICT, for the name of another model.
    """
    form: OpenAIForm = intake.form
    if service.settings.strict:
        check_model(form.model, service)
    defaults = service.settings.options
    refused = intake.refused_options(defaults)
    if "task" in refused:
        raise UnsupportedValue(refused["task"], field="model")
    if "keywords" in refused:  # a keyword is wrong; every model takes some
        raise InvalidParameter(refused["keywords"], field="keywords")
    reasons = {
        FIELD_OF_OPTION[option]: reason
        for option, reason in refused.items()
        if option in FIELD_OF_OPTION and not names_own_language(option, intake.options, service.language)
    }
    reasons |= dict.fromkeys(form.ignored(), "it has no effect on this answer")
    reasons |= dict.fromkeys(map(plain, intake.skipped), "there is no such field, or no model that can honor it")
    if reasons and service.settings.strict:
        name, reason = next(iter(reasons.items()))
        raise UnsupportedValue(f"{name[:100]}: {reason}", field=name[:100])
    intake.drop_options(refused, defaults)
    headers = {MODEL_HEADER: service.model_name} if SAFE_NAME.fullmatch(service.model_name) else {}
    if ignored := ", ".join(filter(SAFE_NAME.fullmatch, reasons)):
        logger.info("ignored parameters: %s", ignored)
        headers[IGNORED_HEADER] = ignored
    return headers


def check_model(name: str, service: Service) -> None:
    """Raises ModelNotFound unless this is the name of the model, or none."""
    if name not in ("", service.model_name):
        raise ModelNotFound(f"there is no model {name[:100]!r}; there is {service.model_name}", field="model")


def names_own_language(option: str, options: Options, own: str | None) -> bool:
    """Whether an option only names the language that the model has anyway."""
    return own is not None and (
        (option == "language" and options.language == own) or (option == "languages" and own in options.languages)
    )
