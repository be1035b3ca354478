"""Keywords of a CTC model: from the options of a request to a spotter for its clip."""

from functools import lru_cache

from app.families.ctc.keyword_spotter import KeywordSpotter
from app.families.ctc.keyword_trie import Trie, build_trie
from app.families.ctc.settings import CtcSettings
from app.families.ctc.spelling import Letters
from app.keywords import Keyword
from app.recognizer import Options

KEPT_TRIES = 8
"""Tries of recent requests that are kept: most requests have the keywords of the settings, or those of their client."""


class KeywordSpotting:
    """Makes the spotters of a model. Thread-safe."""

    def __init__(self, settings: CtcSettings) -> None:
        self._settings = settings
        self._letters = Letters(settings.vocabulary, settings.language)
        self._trie = lru_cache(KEPT_TRIES)(self._build)

    def check(self, options: Options) -> None:
        """Raises InvalidParameter for keywords that the model cannot write."""
        if options.keywords:
            self._trie(options.keywords, options.keywords_boost)

    def spotter(self, options: Options) -> KeywordSpotter | None:
        """A spotter for a clip; None without keywords. Raises InvalidParameter as `check` does."""
        if not options.keywords:
            return None
        settings = self._settings
        trie = self._trie(options.keywords, options.keywords_boost)
        return KeywordSpotter(trie, self._letters, settings.vocabulary, settings.frame_s)

    def _build(self, keywords: tuple[Keyword, ...], boost: float) -> Trie:
        return build_trie(keywords, self._letters, boost)
