"""What no file of the repository may say, and how big it may be."""

import re
from pathlib import Path

import pytest

# Parts of the workplace of whoever writes here; put together so that this file does not hold them itself.
_WORKPLACE = [
    re.compile(r"(?<![\w.])/" + r"(work|farm|root|home/\w+)/"),
    re.compile(r"\.lib" + r"rary/"),
    re.compile("pypi" + r"\.org|python" + r"hosted|deb\.debian" + r"\.org|registry\.npm" + "js"),
]


@pytest.mark.parametrize("pattern", _WORKPLACE, ids=["folders", "tools", "registries"])
def test_no_file_speaks_of_the_place_it_was_written_at(
    checkout: Path, tracked: list[Path], pattern: re.Pattern[str]
) -> None:
    found = []
    for path in tracked:
        content = (checkout / path).read_bytes()
        if b"\0" in content[:4096] or path.suffix == ".safetensors":
            continue
        for number, line in enumerate(content.decode("utf-8").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path}:{number} {line.strip()[:80]}")
    assert found == []


def test_no_file_is_too_big_for_a_checkout(checkout: Path, tracked: list[Path]) -> None:
    """Single files under 12 MiB, all of them under 60 MiB: the catalogue of Slicer allows 100 MB."""
    sizes = {str(path): (checkout / path).stat().st_size for path in tracked}
    assert {path: size for path, size in sizes.items() if size > 12 * 2**20} == {}
    assert sum(sizes.values()) < 60 * 2**20
