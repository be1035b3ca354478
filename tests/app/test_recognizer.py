from typing import Any, cast

from app.errors import InvalidParameter
from app.recognizer import AnyRecognizer, Options, refused_options
from tests.fakes import FakeRecognizer


class Deaf:
    """Refuses prompts and translations, whatever else is asked."""

    def check_options(self, options: Options) -> None:
        if options.task != "transcribe":
            raise InvalidParameter("no translations")
        if options.prompt:
            raise InvalidParameter("no prompts")


def test_each_option_is_looked_at_by_itself() -> None:
    recognizer = cast(AnyRecognizer, Deaf())
    asked = Options(task="translate", prompt="names", beam_size=3)
    assert refused_options(recognizer, asked, Options()) == {"task": "no translations", "prompt": "no prompts"}
    assert refused_options(recognizer, Options(beam_size=3), Options()) == {}


def test_what_the_settings_ask_too_is_not_looked_at() -> None:
    asked: dict[str, Any] = {"prompt": "names"}
    assert refused_options(cast(AnyRecognizer, Deaf()), Options(**asked), Options(**asked)) == {}


def test_a_ctc_model_has_one_language_and_no_temperature() -> None:
    asked = Options(language="tr", languages=("tr",), temperatures=(0.5,), prompt="names", task="translate")
    refused = refused_options(FakeRecognizer(), asked, Options())
    assert set(refused) == {"language", "languages", "temperatures", "prompt", "task"}
