import shutil
from pathlib import Path

import pytest

from scripts.text_generation.data_files import DATA, DataFileError
from scripts.text_generation.inflection_tr import Word
from scripts.text_generation.lexicon import Lexicon, read_lexicon


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return read_lexicon(DATA)


def test_a_list_is_a_pool_in_its_order(lexicon: Lexicon) -> None:
    assert [word.base for word in lexicon.nouns["day"]][:2] == ["pazartesi", "salı"]
    assert lexicon.verbs["vbegin"] == [Word("başla", "başla"), Word("çalış", "çalış"), Word("alış", "alış")]
    assert Word("saat", "saat", front=True) in lexicon.nouns["thing"]
    assert Word("Işık", "Işık") in lexicon.names["surname"]
    assert "ne yazık ki" in lexicon.uninflected["adv"]


def test_joined_pools_have_each_word_once(lexicon: Lexicon) -> None:
    found = [word for word in lexicon.nouns["any"] if word.base == "deniz"]
    assert len(found) == 1
    assert lexicon.nouns["any"][: len(lexicon.nouns["person"])] == lexicon.nouns["person"]
    assert lexicon.names["name"] == [*lexicon.names["man"], *lexicon.names["woman"]]


def test_predicates_are_adjectives_that_may_stand_alone(lexicon: Lexicon) -> None:
    assert [word for word in lexicon.adjectives["adj"] if word not in lexicon.adjectives["pred"]] == lexicon.adjectives[
        "attributive"
    ]


def test_a_new_list_is_a_new_pool(tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    (tmp_path / "nouns" / "tool.txt").write_text("çekiç\n", encoding="utf-8")
    assert read_lexicon(tmp_path).nouns["tool"] == [Word("çekiç", "çekic")]


@pytest.mark.parametrize(
    ("file", "entry", "problem"),
    [
        ("nouns/food.txt", "Elma", "'Elma' has 'E', which is not a lower-case Turkish letter"),
        ("nouns/food.txt", "taxi", "'taxi' has 'x', which is not a lower-case Turkish letter"),
        ("nouns/food.txt", "elma/", "'elma/' ends in /, which softens a t; write the stem before a vowel after the /"),
        ("adjectives/trait.txt", "mst", "'mst' has a stem without a vowel"),
        ("adjectives/attributive.txt", "mutluca", "'mutluca' is not in adj.txt"),
        ("verbs/vacc.txt", "tamir_et/", "'tamir_et/' has '_', which is not a lower-case Turkish letter"),
        ("names/city.txt", "bolu", "'bolu' is not a name: a capital, then lower-case Turkish letters"),
        ("uninflected/adv.txt", "hemen!", "'hemen!' has '!', which is not a lower-case Turkish letter"),
    ],
)
def test_malformed_words_are_refused_with_file_and_line(file: str, entry: str, problem: str, tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    path = tmp_path / file
    lines = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join([*lines, entry]), encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_lexicon(tmp_path)
    assert str(caught.value).startswith(f"{path}:{len(lines) + 1}: {problem}")


@pytest.mark.parametrize("file", ["nouns/month.txt", "nouns/idea.txt", "names/man.txt", "adjectives/attributive.txt"])
def test_required_lists_must_exist(file: str, tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).unlink()
    with pytest.raises(DataFileError) as caught:
        read_lexicon(tmp_path)
    assert str(caught.value) == f"{tmp_path / file} is missing"


@pytest.mark.parametrize(("file", "other"), [("nouns/num.txt", "num"), ("verbs/food.txt", "{folder}/nouns/food.txt")])
def test_no_two_pools_have_one_name(file: str, other: str, tmp_path: Path) -> None:
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    (tmp_path / file).write_text("kes\n", encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_lexicon(tmp_path)
    assert str(caught.value) == f"{tmp_path / file} has the name of another pool: {other.format(folder=tmp_path)}"
