"""What is done to a text before it is learned or scored: one normalizer for training, synthesis and WER.

A CTC model of letters can only say letters. So numbers become words, letters lower case (in Turkish `I` is the capital
of `ı` and `İ` of `i`), marks that the vocabulary lacks fall off (`â` becomes `a` where there is no `â`), letters that
are still not in the alphabet fall away, as apostrophes do (`İstanbul'da` -> `istanbulda`), and all else is a space.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from scripts.speech.numbers_tr import spell_numbers

TURKISH_ALPHABET = "abcçdefgğhıijklmnoöprsştuüvyz"
WORD_DELIMITER = "|"
PAD_TOKEN = "[PAD]"  # noqa: S105  # a token of the vocabulary
UNK_TOKEN = "[UNK]"  # noqa: S105
DOTTED_CAPITAL = "İ"

_JOINERS = re.compile(r"(?<=\w)['’‘`´](?=\w)")


def lower(text: str, language: str) -> str:
    """Lower case in the rules of `language` (ISO 639-1): Turkish and Azerbaijani have a dotless i of their own."""
    if language in ("tr", "az"):
        text = text.replace("I", "ı")
    # str.lower leaves U+0307 behind where it meets an İ; NFC joins what can be joined and the rest is dropped.
    return unicodedata.normalize("NFC", text.lower()).replace("i̇", "i")


@dataclass(frozen=True)
class TextNormalizer:
    """`normalizer(text)` gives the words a model is asked to say, joined by single spaces.

    alphabet: the letters kept, without space; empty keeps every letter.
    language: ISO 639-1 code; decides on lower-casing and on how numbers are spelled (Turkish only).
    """

    alphabet: str = ""
    language: str = "tr"

    @classmethod
    def for_tokens(cls, tokens: Iterable[str], language: str) -> Self:
        """For a model with these tokens: its letters are those of one character.

        Where there is an İ among capitals, an I is the capital of ı, in any language.
        """
        letters = [token for token in tokens if len(token) == 1 and token.isalpha()]
        rules = "tr" if DOTTED_CAPITAL in letters else ""
        return cls("".join(sorted({lower(letter, rules) for letter in letters})), language)

    def __call__(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text)
        if self.language == "tr":
            text = spell_numbers(text)
        text = lower(_JOINERS.sub("", text), self.language)
        return " ".join("".join(self._fold(character) for character in text).split())

    def _fold(self, character: str) -> str:
        if self._keeps(character):
            return character
        bare = "".join(part for part in unicodedata.normalize("NFD", character) if not unicodedata.combining(part))
        bare = bare.replace("ı", "i")
        if bare != character and bare and all(self._keeps(part) for part in bare):
            return bare
        return "" if unicodedata.combining(character) or character.isalpha() else " "

    def _keeps(self, character: str) -> bool:
        return character in self.alphabet if self.alphabet else character.isalpha()


def find_alphabet(texts: Iterable[str], language: str, min_share: float = 1e-4) -> str:
    """The letters that make up at least `min_share` of the normalized texts, sorted."""
    normalizer = TextNormalizer(language=language)
    counts = Counter(character for text in texts for character in normalizer(text) if character != " ")
    total = sum(counts.values())
    return "".join(sorted(character for character, count in counts.items() if count >= min_share * total))


def ctc_vocabulary(alphabet: str) -> dict[str, int]:
    """Token -> id for a new CTC tokenizer: the blank (which is the pad token) first, then the word delimiter."""
    return {token: index for index, token in enumerate([PAD_TOKEN, UNK_TOKEN, WORD_DELIMITER, *alphabet])}
