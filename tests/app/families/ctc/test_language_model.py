import json
from collections.abc import Callable
from pathlib import Path

import pytest

from app.artifacts import Artifact, ArtifactError, UnprovenError, sha256_of
from app.families.ctc.language_model import LanguageModelFolder, read_language_model
from app.families.ctc.letter_model import LetterScorer
from app.families.ctc.word_model import WordScorer
from scripts.language_modeling.making import Unit
from tests.language_models import TOKENS, VOCABULARY, add_alphabet, add_language_model

LABELS = ["", "⁇", " ", *TOKENS[3:]]


def artifact_of(folder: Path, allow_unproven: bool = False) -> Artifact:
    """The artifact in a folder, with the hashes of its files."""
    files = {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in folder.rglob("*")
        if path.is_file()
    }
    return Artifact(folder, "made", {"files": files}, allow_unproven)


@pytest.mark.parametrize(("unit", "kind"), [("letter", LetterScorer), ("word", WordScorer)])
def test_both_kinds_are_read(unit: Unit, kind: type, tmp_path: Path) -> None:
    add_language_model(tmp_path, unit)
    read = read_language_model(artifact_of(tmp_path), VOCABULARY)
    assert isinstance(read.scorer, kind)
    assert read.vocabulary == VOCABULARY


def test_it_is_read_once_and_only_if_there_is_one(tmp_path: Path) -> None:
    folder = LanguageModelFolder(artifact_of(tmp_path), VOCABULARY)
    assert not folder.exists
    assert folder.load() is None
    add_language_model(tmp_path, "letter")
    folder = LanguageModelFolder(artifact_of(tmp_path), VOCABULARY)
    assert folder.exists
    assert folder.load() is folder.load() is not None


def test_the_alphabet_gives_the_texts_of_logits(tmp_path: Path) -> None:
    add_language_model(tmp_path, "word")
    add_alphabet(tmp_path, [label.upper() for label in LABELS] + ["<s>"])
    tokens = read_language_model(artifact_of(tmp_path), VOCABULARY).vocabulary.tokens
    assert tokens == (*TOKENS[:3], *(token.upper() for token in TOKENS[3:]))


def without(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "language_model" / name).unlink()


def with_text(name: str, text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_text(text, encoding="utf-8")


ATTRIBUTES = "language_model/attrs.json"


@pytest.mark.parametrize(
    ("unit", "change", "message"),
    [
        ("letter", without("attrs.json"), r"attrs\.json"),
        ("letter", with_text(ATTRIBUTES, "{"), r"attrs\.json"),
        ("letter", with_text(ATTRIBUTES, "[1]"), r"attrs\.json|cannot be used"),
        ("letter", with_text(ATTRIBUTES, json.dumps({"alpha": 1})), "cannot be used: KeyError.*beta"),
        ("letter", with_text(ATTRIBUTES, json.dumps({"alpha": "much", "beta": 1})), "cannot be used.*much"),
        ("letter", with_text("language_model/letters.npz", "no zip"), r"cannot be used.*letters\.npz"),
        ("word", with_text(ATTRIBUTES, json.dumps({"alpha": 1, "beta": 1})), "cannot be used: KeyError"),
        ("word", without("unigrams.txt"), r"unigrams\.txt is missing"),
        ("word", without("ngrams.arpa"), "must have one file of KenLM .*but has none"),
        ("word", with_text("language_model/more.bin", ""), r"but has more\.bin, ngrams\.arpa"),
        ("word", lambda folder: add_alphabet(folder, LABELS, is_bpe=True), "language models of subwords are not read"),
        ("word", lambda folder: add_alphabet(folder, LABELS[:-1]), "has 15 labels, the model 16 logits"),
        ("word", with_text("alphabet.json", '{"labels": "abc"}'), "lists no labels"),
    ],
)
def test_what_is_missing_or_broken_is_said(
    unit: Unit, change: Callable[[Path], object], message: str, tmp_path: Path
) -> None:
    add_language_model(tmp_path, unit)
    change(tmp_path)
    with pytest.raises(ArtifactError, match=message):
        read_language_model(artifact_of(tmp_path), VOCABULARY)


@pytest.mark.parametrize(
    ("unit", "name"),
    [
        ("letter", "attrs.json"),
        ("letter", "letters.npz"),
        ("word", "attrs.json"),
        ("word", "unigrams.txt"),
        ("word", "ngrams.arpa"),
    ],
)
def test_files_that_differ_from_the_manifest_are_refused(unit: Unit, name: str, tmp_path: Path) -> None:
    add_language_model(tmp_path, unit)
    artifact, allowing = artifact_of(tmp_path), artifact_of(tmp_path, allow_unproven=True)
    for proven in (artifact, allowing):
        proven.manifest["files"][f"language_model/{name}"]["sha256"] = "0" * 64
    with pytest.raises(UnprovenError, match=name):
        read_language_model(artifact, VOCABULARY)
    assert read_language_model(allowing, VOCABULARY).scorer
    assert any(name in reason for reason in allowing.unproven_reasons)
