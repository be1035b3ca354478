"""The folder `language_model` of a model: which files it has, and the scorer that they make.

A checkpoint that transformers' `Wav2Vec2ProcessorWithLM` saved has a model over words:

    alphabet.json                      text of each logit, for the language model
    language_model/attrs.json          alpha, beta, unk_score_offset, score_boundary
    language_model/unigrams.txt        the known words, one a line
    language_model/5gram.bin           KenLM's file, by any name: *.arpa, *.bin or *.binary

`scripts/language_model.py` makes that, or a model over letters: `attrs.json` with alpha and beta, and `letters.npz`.
"""

import threading
from dataclasses import dataclass, replace
from typing import Any

from app.artifacts import Artifact, ArtifactError
from app.families.ctc.decoding import Vocabulary
from app.families.ctc.letter_model import LetterScorer, read_letter_model
from app.families.ctc.scorer import Scorer
from app.families.ctc.word_model import WordScorer

FOLDER = "language_model"
ALPHABET_NAME = "alphabet.json"
ATTRIBUTES_FILE, UNIGRAMS_FILE, LETTERS_FILE = "attrs.json", "unigrams.txt", "letters.npz"
ATTRIBUTES_NAME = f"{FOLDER}/{ATTRIBUTES_FILE}"
UNIGRAMS_NAME = f"{FOLDER}/{UNIGRAMS_FILE}"
LETTERS_NAME = f"{FOLDER}/{LETTERS_FILE}"
KENLM_SUFFIXES = (".arpa", ".bin", ".binary")
PARTS = (ALPHABET_NAME, FOLDER)
"""What belongs to the language model in the folder of a model."""


@dataclass(frozen=True)
class LanguageModel:
    """A language model, and the vocabulary with the texts that it knows for the logits."""

    scorer: Scorer
    vocabulary: Vocabulary


class LanguageModelFolder:
    """The language model of a model folder, read when it is needed first, because it can take a gigabyte."""

    def __init__(self, artifact: Artifact, vocabulary: Vocabulary) -> None:
        self._artifact = artifact
        self._vocabulary = vocabulary
        self._lock = threading.Lock()
        self._loaded: LanguageModel | None = None

    @property
    def exists(self) -> bool:
        """Whether the model has a language model."""
        return (self._artifact.folder / FOLDER).is_dir()

    def load(self) -> LanguageModel | None:
        """The language model; None if there is none. Raises the errors of `read_language_model`."""
        with self._lock:
            if self._loaded is None and self.exists:
                self._loaded = read_language_model(self._artifact, self._vocabulary)
            return self._loaded


def read_language_model(artifact: Artifact, vocabulary: Vocabulary) -> LanguageModel:
    """Read the folder `language_model`.

    Raises ArtifactError if files are missing or broken; UnprovenError if they differ from the manifest, unless that is
    allowed.
    """
    attributes = artifact.read_json(ATTRIBUTES_NAME)
    letters = artifact.folder / LETTERS_NAME
    try:
        if letters.is_file():
            _verify(artifact, ATTRIBUTES_NAME, LETTERS_NAME)
            alpha, beta = float(attributes["alpha"]), float(attributes["beta"])
            return LanguageModel(LetterScorer(vocabulary, *read_letter_model(letters), alpha, beta), vocabulary)
        return _read_word_model(artifact, vocabulary, attributes)
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the language model in {artifact.folder} cannot be used: {error!r}") from error


def _read_word_model(artifact: Artifact, vocabulary: Vocabulary, attributes: dict[str, Any]) -> LanguageModel:
    folder = artifact.folder / FOLDER
    found = sorted(path.name for path in folder.iterdir() if path.suffix in KENLM_SUFFIXES)
    if len(found) != 1:
        wanted = f"*{', *'.join(KENLM_SUFFIXES)}"
        raise ArtifactError(f"{folder} must have one file of KenLM ({wanted}), but has {', '.join(found) or 'none'}")
    unigrams = artifact.folder / UNIGRAMS_NAME
    if not unigrams.is_file():
        raise ArtifactError(f"{UNIGRAMS_NAME} is missing in {artifact.folder}; without known words it may be empty")
    names = [ATTRIBUTES_NAME, UNIGRAMS_NAME, f"{FOLDER}/{found[0]}"]
    if (artifact.folder / ALPHABET_NAME).is_file():
        names.append(ALPHABET_NAME)
        vocabulary = _with_alphabet(artifact, vocabulary)
    _verify(artifact, *names)
    scorer = WordScorer(
        vocabulary,
        folder / found[0],
        unigrams.read_text(encoding="utf-8").splitlines(),
        alpha=float(attributes["alpha"]),
        beta=float(attributes["beta"]),
        unknown_offset=float(attributes["unk_score_offset"]),
        score_boundary=bool(attributes["score_boundary"]),
    )
    return LanguageModel(scorer, vocabulary)


def _with_alphabet(artifact: Artifact, vocabulary: Vocabulary) -> Vocabulary:
    """The vocabulary with the texts of `alphabet.json`, where the space and the blank are " " and ""."""
    alphabet = artifact.read_json(ALPHABET_NAME)
    labels = alphabet.get("labels")
    if alphabet.get("is_bpe"):
        raise ArtifactError(f"{artifact.folder}/{ALPHABET_NAME} has subwords; language models of subwords are not read")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise ArtifactError(f"{artifact.folder}/{ALPHABET_NAME} lists no labels")
    tokens = vocabulary.tokens
    if len(labels) < len(tokens):
        raise ArtifactError(f"{ALPHABET_NAME} has {len(labels)} labels, the model {len(tokens)} logits")
    texts = tuple(
        token if token in vocabulary.special or token == vocabulary.word_delimiter else label
        for token, label in zip(tokens, labels, strict=False)
    )
    return replace(vocabulary, tokens=texts)


def _verify(artifact: Artifact, *names: str) -> None:
    for name in names:
        artifact.verify(name)
