"""The form of an API: one pydantic model, which gives both its validation and its OpenAPI description."""

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, ClassVar, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError

from app.api.upload import FILE_FIELD
from app.errors import InvalidParameter
from app.recognizer import Options

MAX_ECHOED = 100
"""Most characters of a client's name or value that an error message repeats."""


class UploadForm(BaseModel):
    """The form fields beside the file. A field whose type is a list may be repeated."""

    model_config = ConfigDict(extra="forbid")
    file_description: ClassVar[str] = (
        "WAV, FLAC, OGG, Opus, MP3, M4A, WebM, 3GP, AMR, AAC, AIFF, CAF; detected from its bytes."
    )

    file_field: ClassVar[str] = FILE_FIELD
    in_query: ClassVar[bool] = False
    """Whether the other fields are query parameters instead."""
    is_bare: ClassVar[bool] = False
    """Whether the body is the file itself, and no form."""

    @classmethod
    def keeps(cls, name: str) -> bool:
        """Whether the values of a field of the upload are kept; those of others are dropped as they arrive."""
        return True

    @classmethod
    def named(cls, fields: Mapping[str, Sequence[str]]) -> Mapping[str, Sequence[str]]:
        """The fields of the upload by the names that the model of the form has for them."""
        return fields

    def opened(self, file: BinaryIO) -> BinaryIO:
        """The upload as an audio file."""
        return file

    def options(self, defaults: Options) -> Options:
        """The recognition options that the form asks for. defaults: those of the service's settings."""
        return defaults


Form = TypeVar("Form", bound=UploadForm)


def parse_form(model: type[Form], fields: Mapping[str, Sequence[str]]) -> Form:
    """Validate the fields of a form: name -> values. Raises InvalidParameter, which lists what is allowed."""
    values: dict[str, Any] = {}
    for name, given in model.named(fields).items():
        if name not in model.model_fields:
            allowed = [model.file_field, *model.model_fields]
            raise InvalidParameter(f"there is no field {truncated(name)!r}", field=truncated(name), allowed=allowed)
        repeatable = get_origin(model.model_fields[name].annotation) is list
        if len(given) > 1 and not repeatable:
            raise InvalidParameter(f"the field {truncated(name)!r} is repeated", field=name)
        values[name] = list(given) if repeatable else given[0]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_parameter(model, error) from None


def invalid_parameter(model: type[UploadForm], error: ValidationError) -> InvalidParameter:
    """The first problem that pydantic found."""
    problem = error.errors()[0]
    reason = str(problem["msg"]).removeprefix("Value error, ")
    if not problem["loc"]:
        return InvalidParameter(reason)
    name = str(problem["loc"][0])
    message = f"{name} cannot be {truncated(str(problem['input']))!r}"
    if problem["type"] == "literal_error":
        annotation = model.model_fields[name].annotation
        choices = get_args(annotation)
        choices = get_args(choices[0]) if get_origin(annotation) is list else choices
        return InvalidParameter(message, field=name, allowed=list(choices))
    return InvalidParameter(f"{message}: {reason}", field=name)


def form_schema(model: type[UploadForm]) -> dict[str, Any]:
    """The OpenAPI schema of the form, including its file."""
    properties: dict[str, Any] = {
        model.file_field: {"type": "string", "format": "binary", "description": model.file_description}
    }
    if not model.in_query:
        properties |= field_schemas(model)
    others = model.model_config.get("extra") == "ignore"
    return {"type": "object", "required": [model.file_field], "additionalProperties": others, "properties": properties}


def query_parameters(model: type[UploadForm]) -> list[dict[str, Any]]:
    """The OpenAPI parameters of a form whose fields are in the query."""
    if not model.in_query:
        return []
    return [
        {"name": name, "in": "query", "required": False, "schema": schema, "description": schema.pop("description", "")}
        for name, schema in field_schemas(model).items()
    ]


def field_schemas(model: type[UploadForm]) -> dict[str, dict[str, Any]]:
    """The schema of each field beside the file."""
    schemas = model.model_json_schema()["properties"]
    return {name: {key: value for key, value in schema.items() if key != "title"} for name, schema in schemas.items()}


def truncated(text: str) -> str:
    """Text from the client, cut to the length that messages repeat."""
    return text[:MAX_ECHOED]
