"""How a CTC model with a vocabulary of letters would write a keyword: as a row of letters.

Letters are compared in lower case. A letter that the vocabulary lacks is written as the letters that come closest: `â`
as `a`, and in Turkish `w` as `v`.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from app.errors import InvalidParameter
from app.families.ctc.decoding import Vocabulary
from app.keywords import FIELD, Keyword
from app.languages import lower_case

APOSTROPHES = re.compile(r"['’‘`´]")
LETTERS_APART = {"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"}
"""Letters that are no base letter with a diacritic."""
FOREIGN_LETTERS = {"tr": {"w": "v", "q": "k", "x": "ks"}}
"""Language -> letters that its alphabet lacks, as its speakers say them."""
SOFTENED = {"k": "ğ", "p": "b", "ç": "c", "t": "d"}
"""Turkish consonants at the end of a word, as they are said before a vowel: `Zonguldak'a` is `zonguldağa`."""
SOFTENS_FROM = 4
"""Shortest word, in letters, whose end softens: words of one syllable mostly keep theirs."""
TURKISH_LETTERS = frozenset("ğışç")
AZERBAIJANI_LETTER = "ə"
DOTTED_CAPITAL = "İ"


@dataclass(frozen=True)
class Spelling:
    """A row of letters that stands for a keyword.

    letters: each a key of `Letters.ids`. words: number of the word that each letter belongs to, from 0; those who
    speak make no pause between words, so a model may miss the space. before_vowel: whether it stands for the keyword
    only with a suffix that begins with a vowel.
    """

    letters: tuple[str, ...]
    words: tuple[int, ...]
    before_vowel: bool = False


class Letters:
    """The letters of a vocabulary, in lower case. language: ISO 639 code of the model's language, if it is known."""

    def __init__(self, vocabulary: Vocabulary, language: str | None) -> None:
        tokens = vocabulary.tokens
        self.language = language or guessed_language(vocabulary)
        rules = "tr" if DOTTED_CAPITAL in tokens else None
        self.of_token: dict[int, str] = {}
        """Id of a token -> its letter; other tokens are the delimiter of words, or stand for no sound."""
        self.delimiters = vocabulary.delimiters
        for index, token in enumerate(tokens):
            letter = lower_case(token, rules)
            if token not in vocabulary.special and index != vocabulary.blank and _is_letter(letter):
                self.of_token[index] = letter

    @cached_property
    def ids(self) -> dict[str, tuple[int, ...]]:
        """Letter -> ids of its tokens: a cased vocabulary has two."""
        ids: dict[str, tuple[int, ...]] = {}
        for index, letter in self.of_token.items():
            ids[letter] = (*ids.get(letter, ()), index)
        return ids

    def spellings(self, keyword: Keyword) -> list[Spelling]:
        """The ways to write a keyword. Raises InvalidParameter if it has a character that the model cannot write."""
        sound = keyword.sounds_like or keyword.text
        texts = [lower_case(sound, self.language)]
        if self.language == "tr" and "I" in sound:  # of a foreign word, such as IKEA, or of a Turkish one
            texts.append(lower_case(sound.replace("I", "i"), self.language))
        found = []
        for text in dict.fromkeys(texts):
            spelled = [self._word(word, keyword) for word in self._words(text)]
            letters = tuple(letter for word in spelled for letter in word)
            numbers = tuple(number for number, word in enumerate(spelled) for _ in word)
            if not letters:
                raise self._unwritable(keyword, text)
            found.append(Spelling(letters, numbers))
            softened = SOFTENED.get(letters[-1], "")
            if self.language == "tr" and len(spelled[-1]) >= SOFTENS_FROM and softened in self.ids:
                if letters[-2:] == ("n", "k"):
                    softened = "g"
                found.append(Spelling((*letters[:-1], softened), numbers, before_vowel=True))
        return found

    def _words(self, text: str) -> list[str]:
        """The words of a text, between everything that is neither a letter nor a digit nor a sign that is said."""
        return re.sub(r"[^\w&+%@#$€]|_", " ", APOSTROPHES.sub("", text)).split()

    def _word(self, word: str, keyword: Keyword) -> list[str]:
        letters = []
        for character in word:
            written = self._letter(character)
            if not written:
                raise self._unwritable(keyword, character)
            letters += written
        return letters

    def _letter(self, character: str) -> list[str]:
        """The letters of the vocabulary that stand for a character; none if there are none."""
        if character in self.ids:
            return [character]
        parts = unicodedata.normalize("NFD", character)
        bare = "".join(part for part in parts if not unicodedata.combining(part))
        others = (parts, FOREIGN_LETTERS.get(self.language or "", {}).get(character, ""), bare)
        for letters in (*others, LETTERS_APART.get(character, "")):
            if letters and all(letter in self.ids for letter in letters):
                return list(letters)
        return []

    def _unwritable(self, keyword: Keyword, character: str) -> InvalidParameter:
        return InvalidParameter(
            f"the model has no letter for {character!r} of the keyword {keyword.text!r}: write how it is said, as in "
            f"{keyword.text}=..., in the letters {''.join(sorted(self.ids))}",
            field=FIELD,
        )


def guessed_language(vocabulary: Vocabulary) -> str | None:
    """`tr` of a vocabulary with the letters of Turkish; else None."""
    letters = {token.lower() for token in vocabulary.tokens}
    return "tr" if letters >= TURKISH_LETTERS and AZERBAIJANI_LETTER not in letters else None


def _is_letter(text: str) -> bool:
    """Whether a token is one letter, or a mark that belongs to the letter before it. The dot of i̇ is no sound."""
    return len(text) == 1 and (text.isalpha() or (unicodedata.combining(text) != 0 and text != "\u0307"))
