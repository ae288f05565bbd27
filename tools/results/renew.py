"""Put what was measured into RESULTS.md: the tables between its markers, dated, with versions. ``make results``.

The commands that measure write Markdown below ``out``. A table whose file is not there stays, and that is said.
"""

from __future__ import annotations

import argparse
import platform
import re
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

MEASURED = {
    "accuracy": Path("validate/validation.md"),
    "series": Path("series/series.md"),
    "series-same-scanner": Path("series-same-scanner/series_same_scanner.md"),
    "speed": Path("bench/bench.md"),
}
_PACKAGES = ("spinalcordseg", "torch", "numpy", "scipy", "onnxruntime")


def main() -> None:
    parser = argparse.ArgumentParser(prog="renew", description=__doc__)
    parser.add_argument("--measured", type=Path, default=Path("out"))
    parser.add_argument("--results", type=Path, default=Path("RESULTS.md"))
    arguments = parser.parse_args()
    text = arguments.results.read_text(encoding="utf-8")
    for name, path in MEASURED.items():
        source = arguments.measured / path
        if source.is_file():
            when = datetime.fromtimestamp(source.stat().st_mtime, timezone.utc).date().isoformat()
            text = renewed(text, name, f"{_told(when)}\n\n{source.read_text(encoding='utf-8')}")
            print(f"{name}: renewed from {source}")
        else:
            print(f"{name}: {source} is not there, left as it was")
    arguments.results.write_text(text, encoding="utf-8")


def renewed(text: str, name: str, content: str) -> str:
    """``text`` with ``content`` between the markers of ``name``; its headings become one level 3. Raises ValueError
    unless both markers are there, once and in order."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"RESULTS.md needs the lines {begin} and {end}, once each and in this order")
    body = re.sub(r"^# .*\n+", "", content.strip() + "\n", flags=re.MULTILINE)
    body = re.sub(r"^## ", "### ", body, flags=re.MULTILINE)
    head, _, rest = text.partition(begin)
    return f"{head}{begin}\n{body.strip()}\n{end}{rest.partition(end)[2]}"


def _told(when: str) -> str:
    versions = []
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"no {package}")
    return f"Measured {when}; Python {platform.python_version()}, {', '.join(versions)}."


if __name__ == "__main__":
    main()
