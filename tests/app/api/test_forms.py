from typing import Any, Literal

import pytest
from pydantic import Field

from app.api.forms import UploadForm, form_schema, parse_form
from app.errors import InvalidParameter


class Example(UploadForm):
    shape: Literal["round", "square"] = Field("round", description="What it looks like.")
    size: float = Field(1.0, gt=0)
    parts: list[Literal["a", "b"]] = Field(default_factory=list)


def test_what_is_not_given_has_its_default() -> None:
    assert parse_form(Example, {}) == Example(shape="round", size=1.0, parts=[])


def test_texts_become_what_the_model_says() -> None:
    form = parse_form(Example, {"shape": ["square"], "size": ["2.5"], "parts": ["b", "a"]})
    assert form == Example(shape="square", size=2.5, parts=["b", "a"])


@pytest.mark.parametrize(
    ("fields", "message", "details"),
    [
        ({"colour": ["red"]}, "there is no field 'colour'", {"allowed": ["file", "shape", "size", "parts"]}),
        ({"shape": ["flat"]}, "shape cannot be 'flat'", {"field": "shape", "allowed": ["round", "square"]}),
        ({"shape": ["x" * 5_000]}, f"shape cannot be '{'x' * 100}'", {"field": "shape"}),
        ({"size": ["much"]}, "size cannot be 'much': Input should be a valid number", {"field": "size"}),
        ({"size": ["-1"]}, "size cannot be '-1': Input should be greater than 0", {"field": "size"}),
        ({"size": ["1", "2"]}, "the field 'size' is repeated", {"field": "size"}),
        ({"parts": ["a", "c"]}, "parts cannot be 'c'", {"field": "parts", "allowed": ["a", "b"]}),
    ],
)
def test_what_is_not_allowed_is_said(fields: dict[str, list[str]], message: str, details: dict[str, Any]) -> None:
    with pytest.raises(InvalidParameter) as refused:
        parse_form(Example, fields)
    error = refused.value.body()["error"]
    assert error["message"].startswith(message)
    assert {name: error[name] for name in details} == details


def test_openapi_says_what_is_checked() -> None:
    schema = form_schema(Example)
    assert schema["required"] == ["file"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["shape"] == {
        "type": "string",
        "enum": ["round", "square"],
        "default": "round",
        "description": "What it looks like.",
    }
    assert schema["properties"]["parts"]["type"] == "array"
    assert schema["properties"]["file"]["format"] == "binary"
