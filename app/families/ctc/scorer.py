"""What a beam search asks of a language model: the score of a text that grows, token by token."""

from typing import Any, NamedTuple, Protocol


class Scored(NamedTuple):
    """What a language model says of a prefix. score: of all of it, in natural logarithm. state: for what follows."""

    score: float
    state: Any


class Scorer(Protocol):
    """Scores prefixes, token by token. Thread-safe.

    States can be hashed; two prefixes with equal states and the same last token get equal scores for what follows.
    """

    def start(self) -> Scored:
        """The empty prefix."""
        ...

    def extend(self, before: Scored, token: int) -> Scored:
        """A prefix with one more token, which may be the word delimiter, but never twice in a row, nor first."""
        ...

    def finish(self, whole: Scored) -> float:
        """The score of a whole text. The last token is a letter, or the text is empty."""
        ...
