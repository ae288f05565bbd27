"""Sum the branch coverage that `make coverage` measured: per package, and for the modules that must not be wrong.

    python tools/results/coverage_table.py out/coverage/coverage.json

Prints the two tables of RESULTS.md, and the lines and branches that no test reaches in the second one's modules.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path, PurePath
from typing import Any

_PACKAGES = (
    "SpinalCordSegLib", "SpinalCordSegNodes", "SpinalCordSegWidgets", "SpinalCordSegTrainerLib",
    "SpinalCordSegTrainerWidgets",
)  # fmt: skip
# Geometry, mask, morphometry, writing: by the module's own name, wherever its sub-package puts it.
_MODULES = (
    "volume", "files", "volume_file", "nifti_header", "nifti_voxels", "dicom_stack", "mask", "cleaning", "cord_pieces",
    "centreline", "shape", "measures", "morphometry", "writing", "case_folder",
)  # fmt: skip


def main(report: Path) -> None:
    """Print the tables for a report of ``coverage json``."""
    told: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    # Paths of the checkout are relative; the copies that tests of the installation make stand there as well.
    files = {path: one for path, one in told.items() if not PurePath(path).is_absolute()}
    print("| package | lines | branches | covered, % |\n| --- | --- | --- | --- |")
    for package in _PACKAGES:
        print(_row(package, [one["summary"] for path, one in files.items() if package in PurePath(path).parts]))
    library = {PurePath(path).stem: one for path, one in files.items() if "SpinalCordSegLib" in PurePath(path).parts}
    print("\n| module | lines | branches | covered, % |\n| --- | --- | --- | --- |")
    for module in _MODULES:
        print(_row(module, [library[module]["summary"]]))
    print("\nNot reached:")
    for module in _MODULES:
        missing = library[module]
        if missing["missing_lines"] or missing["missing_branches"]:
            print(f"{module}: lines {missing['missing_lines']}, branches {missing['missing_branches']}")


def _row(name: str, summaries: list[dict[str, Any]]) -> str:
    lines, branches, reached, both = (
        sum(one[key] for one in summaries)
        for key in ("num_statements", "num_branches", "covered_branches", "covered_lines")
    )
    return f"| {name} | {lines} | {branches} | {100 * (reached + both) / max(lines + branches, 1):.1f} |"


if __name__ == "__main__":
    main(Path(sys.argv[1]))
