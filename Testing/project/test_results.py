"""RESULTS.md can be renewed by one command: every table that is measured has its place, and only that is replaced."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[2]
_RENEW = _CHECKOUT / "Testing" / "results" / "renew.py"


def _renew(folder: Path) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, str(_RENEW), "--measured", str(folder), "--results", str(folder / "RESULTS.md")]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


def test_a_measured_table_takes_its_place_in_the_real_page(tmp_path: Path) -> None:
    page = (_CHECKOUT / "RESULTS.md").read_text(encoding="utf-8")
    (tmp_path / "RESULTS.md").write_text(page, encoding="utf-8")
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "bench.md").write_text("# Benchmark\n\n## whole\n\n| way | s |\n|---|---|\n| ours | 1.5 |\n")
    ended = _renew(tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "speed: renewed" in ended.stdout and "accuracy: " in ended.stdout and "left as it was" in ended.stdout
    now = (tmp_path / "RESULTS.md").read_text(encoding="utf-8")
    begin, end = "<!-- begin speed -->", "<!-- end speed -->"
    block = now.partition(begin)[2].partition(end)[0]
    assert "### whole" in block and "| ours | 1.5 |" in block and "Measured 20" in block and "numpy" in block
    assert "# Benchmark" not in block
    assert now.partition(begin)[0] == page.partition(begin)[0] and now.partition(end)[2] == page.partition(end)[2]


def test_a_page_without_its_marker_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "RESULTS.md").write_text("<!-- end speed -->\n<!-- begin speed -->\n")
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "bench.md").write_text("| x |\n")
    ended = _renew(tmp_path)
    assert ended.returncode != 0 and "begin speed" in ended.stderr
    assert (tmp_path / "RESULTS.md").read_text() == "<!-- end speed -->\n<!-- begin speed -->\n"
