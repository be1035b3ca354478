import shutil
from pathlib import Path

import pytest

from scripts.text_generation.data_files import DATA, DataFileError
from scripts.text_generation.inflection_tr import (
    attach,
    conjugate,
    endings,
    nominal,
    parse_verb,
    parse_word,
    question,
    read_endings,
)


@pytest.mark.parametrize(
    ("entry", "forms"),
    [
        ("kitap", "kitabı kitaba kitapta kitaptan kitabın kitapla"),
        ("saat*", "saati saate saatte saatten saatin saatle"),
        ("şehir/şehr", "şehri şehre şehirde şehirden şehrin şehirle"),
        ("su/suy", "suyu suya suda sudan suyun suyla"),
        ("renk/reng", "rengi renge renkte renkten rengin renkle"),
        ("ışık", "ışığı ışığa ışıkta ışıktan ışığın ışıkla"),
        ("araba", "arabayı arabaya arabada arabadan arabanın arabayla"),
        ("hukuk!", "hukuku hukuka hukukta hukuktan hukukun hukukla"),
    ],
)
def test_cases(entry: str, forms: str) -> None:
    assert [attach(parse_word(entry), suffix) for suffix in endings().case.values()] == forms.split()


def test_possessives() -> None:
    forms = [attach(parse_word("ağız/ağz"), suffix) for suffix in endings().possessive.values()]
    assert forms == ["ağzım", "ağzın", "ağzı", "ağzımız", "ağzınız", "ağızları"]


@pytest.mark.parametrize(
    ("entry", "tense", "person", "negative", "form"),
    [
        ("git/gid", "present", "1s", False, "gidiyorum"),
        ("git/gid", "past", "3p", False, "gittiler"),
        ("ye", "future", "1p", False, "yiyeceğiz"),
        ("ye", "present", "2s", True, "yemiyorsun"),
        ("söyle", "present", "2p", False, "söylüyorsunuz"),
        ("oku", "can", "1s", True, "okuyamam"),
        ("gel", "aorist", "3s", False, "gelir"),
        ("yaz", "aorist", "1p", True, "yazmayız"),
        ("kaydet/", "aorist", "1s", False, "kaydederim"),
        ("çalış", "must", "1s", False, "çalışmalıyım"),
        ("gör", "reported", "2s", False, "görmüşsün"),
        ("gel", "conditional", "3p", False, "gelirlerse"),
        ("gel", "was", "3p", False, "geliyorlardı"),
        ("al", "would", "1s", True, "almayacaktım"),
    ],
)
def test_conjugation(entry: str, tense: str, person: str, negative: bool, form: str) -> None:
    assert conjugate(parse_verb(entry), tense, person, negative) == form


def test_questions_and_forms_that_are_not_finite() -> None:
    verb = parse_verb("git/gid")
    assert question(verb, "present", "2s") == "gidiyor musun"
    assert question(verb, "past", "2p") == "gittiniz mi"
    assert question(verb, "future", "1p") == "gidecek miyiz"
    assert question(verb, "present", "3p") == "gidiyorlar mı"
    assert [nominal(verb, kind, "1s") for kind in ("dik", "acak", "ma")] == ["gittiğim", "gideceğim", "gitmem"]
    assert nominal(verb, "(y)ArAk") == "giderek"


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("", "is malformed"),
        ("ev 2", "is malformed"),
        ("yavaş_yavaş", "is malformed"),
        ("ev ", "is malformed"),
        ("saat!*", "is malformed"),
        ("şehir/şehr/", "is malformed"),
        ("kitap/", "softens a t"),
        ("pst", "without a vowel"),
        ("şehir/şhr", "without a vowel"),
    ],
)
def test_malformed_entries_are_refused(entry: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as caught:
        parse_word(entry)
    assert str(caught.value).startswith(repr(entry))
    with pytest.raises(ValueError, match=problem):
        parse_verb(entry)


def test_names_and_verbs_soften_only_where_the_entry_says_so() -> None:
    assert [attach(parse_verb(entry), "(y)A") for entry in ("Işık", "gecik", "git/gid")] == ["Işıka", "gecike", "gide"]


@pytest.mark.parametrize(
    ("file", "line", "old", "new", "problem"),
    [
        ("persons.csv", 3, "1s,", "4s,", "'4s' is not one of the persons 1s, 2s, 3s, 1p, 2p, 3p"),
        ("persons.csv", 4, "sIn,", "sEn,", "'sEn' in the column copula is not a suffix"),
        ("persons.csv", 5, "(s)I", "", "'' in the column possessive is not a suffix"),
        ("cases.csv", 4, "(y)A", "(y)", "'(y)' in the column suffix is not a suffix"),
        ("cases.csv", 7, "(n)In,nIn", "(n)In", "the row has 2 fields, not 3"),
        ("suffixes.csv", 3, "no", "maybe", "apostrophe must be yes or no, not 'maybe'"),
        ("suffixes.csv", 4, "sIz", "s1z", "'s1z' in the column suffix is not a suffix"),
        ("verb_forms.csv", 2, "suffix", "ending", "the columns must be form,suffix, not form,ending"),
        ("verb_forms.csv", 6, "(y)", "(y", "'(yIncA' in the column suffix is not a suffix"),
        ("aorist_ir.txt", 2, "al", "al!", "'al!' is not a verb root, which has only lower-case letters"),
        ("aorist_ar.txt", 3, "reddet", "affet", "'affet' is already in line 2"),
    ],
)
def test_malformed_endings_are_refused_with_file_and_line(
    file: str, line: int, old: str, new: str, problem: str, tmp_path: Path
) -> None:
    shutil.copytree(DATA / "inflection", tmp_path, dirs_exist_ok=True)
    lines = (tmp_path / file).read_text(encoding="utf-8").split("\n")
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new, 1)
    (tmp_path / file).write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_endings(tmp_path)
    assert str(caught.value) == f"{tmp_path / file}:{line}: {problem}"


def test_every_person_needs_a_row(tmp_path: Path) -> None:
    shutil.copytree(DATA / "inflection", tmp_path, dirs_exist_ok=True)
    path = tmp_path / "persons.csv"
    rows = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(row for row in rows if not row.startswith("2p")), encoding="utf-8")
    with pytest.raises(DataFileError, match=r"persons\.csv has no row for 2p$"):
        read_endings(tmp_path)


@pytest.mark.parametrize("file", sorted(path.name for path in (DATA / "inflection").iterdir()))
def test_every_file_of_endings_is_read(file: str, tmp_path: Path) -> None:
    shutil.copytree(DATA / "inflection", tmp_path, dirs_exist_ok=True)
    (tmp_path / file).unlink()
    with pytest.raises(DataFileError) as caught:
        read_endings(tmp_path)
    assert str(caught.value) == f"{tmp_path / file} is missing"
