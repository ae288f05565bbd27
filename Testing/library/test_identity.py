"""Names and numbers are recognised however they are written."""

from __future__ import annotations

import pytest

from SpinalCordSegLib.dicom import identity_words, tells_identity

WORDS = identity_words(["Pérez García^José", "00123456", "Müller"])


@pytest.mark.parametrize(
    "text",
    [
        "perez_t1w",
        "T1w-PÉREZ",
        "José 2",
        "scan_0123456_1",
        "123456",
        "00123456",
        "per_ez",
        "mueller",
        "MULLER",
        "Mu\u0308ller",  # the same letters decomposed, as macOS stores them
    ],
)
def test_a_name_is_found_in_any_spelling(text: str) -> None:
    assert tells_identity(text, WORDS)


@pytest.mark.parametrize("text", ["", "T1w neck", "sub-01", "12345", "anat-T1w-401", "per"])
def test_other_texts_pass(text: str) -> None:
    assert not tells_identity(text, WORDS)


def test_short_parts_count_only_joined() -> None:
    words = identity_words(["Li^Na", "02"])
    assert words == {"lina", "nali"}
    assert tells_identity("LI_NA_neck", words)
    assert not tells_identity("line-02", words - {"lina", "nali"})


def test_nothing_known_is_nothing_found() -> None:
    assert identity_words([]) == frozenset()
    assert not tells_identity("anything", frozenset())


def test_names_in_other_scripts() -> None:
    words = identity_words(["Yamada^Tarou=山田^太郎"])
    assert all(tells_identity(text, words) for text in ("山田太郎_T1", "山田", "t1 tarou"))
    assert not tells_identity("山_T1", words)
