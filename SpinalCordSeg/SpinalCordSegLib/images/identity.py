"""Whether a text tells who the patient is: the test that keeps names and numbers out of what we write."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_SHORTEST_PART = 3  # "Li" or "02" alone would match half of all file names
_LETTERS = str.maketrans(
    {"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "œ": "oe", "ł": "l", "đ": "d", "ı": "i"}
)


def identity_words(texts: Iterable[str]) -> frozenset[str]:
    """The parts of names and identifiers that must not show, in every spelling that is looked for.

    Each text is split at "^", "=", "\\\\", spaces and punctuation; parts under 3 characters count only joined with the
    others ("Li^Na" gives "lina"). Identifiers count without leading zeros too. Nothing known gives an empty set.
    """
    words: set[str] = set()
    for name in (name for text in texts for name in text.split("=")):
        parts = re.findall(r"[^\W_]+", name)
        for spelling in _spellings(parts):
            joined = ["".join(spelling), "".join(reversed(spelling))]
            words.update(word for word in [*spelling, *joined] if _long_enough(word))
            words.update(bare for word in spelling if _long_enough(bare := word.lstrip("0")))
    return frozenset(words)


def _long_enough(word: str) -> bool:
    """Two letters of a script like Chinese are a name; two Latin ones are in every word."""
    return len(word) >= (_SHORTEST_PART if word.isascii() else _SHORTEST_PART - 1)


def tells_identity(text: str, words: Iterable[str]) -> bool:
    """True when ``text`` holds one of ``words``, whatever its case, accents and separators."""
    forms = {"".join(spelling) for spelling in _spellings(re.findall(r"[^\W_]+", text))}
    return any(word in form for word in words for form in forms)


def _spellings(parts: list[str]) -> list[list[str]]:
    """Without accents, once by dropping them (Müller → muller), once as they are transcribed (mueller)."""
    folded = [unicodedata.normalize("NFC", part).casefold() for part in parts]
    return [[_bare(part) for part in folded], [_bare(part.translate(_LETTERS)) for part in folded]]


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
