"""The tree that the project's own rules are checked on."""

from pathlib import Path

import pytest

from source_tree import Source, read_sources, tracked_files


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root folder of the repository."""
    return Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tracked(checkout: Path) -> list[Path]:
    """Every file of the repository, relative to its root, that is there."""
    return tracked_files(checkout)


@pytest.fixture(scope="session")
def sources(checkout: Path, tracked: list[Path]) -> list[Source]:
    """Every Python file of the repository, parsed."""
    return read_sources(checkout, tracked)
