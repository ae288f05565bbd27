"""The file lists of both modules in CMake: read them, tell what they should hold, write them.

``python Testing/project/cmake_lists.py --write`` brings the lists up to date with the files under version control.
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from source_tree import tracked_files

MODULES = ("SpinalCordSeg", "SpinalCordSegTrainer")
LISTS = ("MODULE_PYTHON_SCRIPTS", "MODULE_PYTHON_RESOURCES")


def listed_files(cmake_text: str, list_name: str) -> list[str]:
    """The entries of ``set(list_name …)``, in their order. Raises ValueError when there is no such list."""
    return _list_block(cmake_text, list_name).group(2).split()


def files_of_module(tracked: list[Path], module: str) -> dict[str, list[str]]:
    """What each list of a module should hold, sorted: scripts are the ``.py`` files, resources all in ``Resources``."""
    inside = [path.relative_to(module).as_posix() for path in tracked if path.parts[0] == module]
    return {
        "MODULE_PYTHON_SCRIPTS": sorted(name for name in inside if name.endswith(".py")),
        "MODULE_PYTHON_RESOURCES": sorted(name for name in inside if name.startswith("Resources/")),
    }


def with_list(cmake_text: str, list_name: str, entries: list[str]) -> str:
    """The text with that list's entries replaced, one a line."""
    block = _list_block(cmake_text, list_name)
    lines = "".join(f"  {entry}\n" for entry in entries)
    return f"{cmake_text[: block.start()]}{block.group(1)}\n{lines}  ){cmake_text[block.end() :]}"


def install(checkout: Path, folder: Path) -> None:
    """Lay every listed file of both modules into one folder, as Slicer does. FileExistsError: both have it."""
    for module in MODULES:
        text = (checkout / module / "CMakeLists.txt").read_text(encoding="utf-8")
        for name in [name for list_name in LISTS for name in listed_files(text, list_name)]:
            target = folder / name
            if target.exists():
                raise FileExistsError(f"{name} comes from both modules")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / module / name, target)


def _list_block(cmake_text: str, list_name: str) -> re.Match[str]:
    block = re.search(rf"(set\({list_name})\s([^)]*)\)", cmake_text)
    if block is None:
        raise ValueError(f"no set({list_name} …) in this CMakeLists.txt")
    return block


def main(arguments: list[str]) -> int:
    """Write the lists with ``--write``; else only tell which differ (exit 1)."""
    checkout = Path(__file__).resolve().parents[2]
    tracked = tracked_files(checkout)
    differing = []
    for module in MODULES:
        path = checkout / module / "CMakeLists.txt"
        text = wanted = path.read_text(encoding="utf-8")
        for list_name, entries in files_of_module(tracked, module).items():
            wanted = with_list(wanted, list_name, entries)
        if text != wanted:
            differing.append(module)
            if "--write" in arguments:
                path.write_text(wanted, encoding="utf-8")
    print("lists differ from the tree: " + ", ".join(differing) if differing else "lists are those of the tree")
    return 1 if differing and "--write" not in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
