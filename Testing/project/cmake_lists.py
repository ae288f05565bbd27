"""What CMake installs of both modules: read from the globs in their CMakeLists.txt."""

import re
import shutil
from pathlib import Path

MODULES = ("SpinalCordSeg", "SpinalCordSegTrainer")


def installed_files(checkout: Path, module: str) -> list[str]:
    """The files that the module's CMakeLists.txt installs, relative to its folder, sorted."""
    text = (checkout / module / "CMakeLists.txt").read_text(encoding="utf-8")
    folder = checkout / module
    names: list[str] = []
    for pattern in re.findall(r'GLOB_RECURSE \w+ RELATIVE \S+ CONFIGURE_DEPENDS "([^"]+)"', text):
        parent, _, name = pattern.rpartition("/")
        names += [path.relative_to(folder).as_posix() for path in (folder / parent).rglob(name) if path.is_file()]
    for excluded in re.findall(r'EXCLUDE REGEX "([^"]+)"', text):
        names = [name for name in names if not re.search(excluded, name)]
    return sorted(names)


def install(checkout: Path, folder: Path) -> None:
    """Copy every installed file of both modules into one folder, as Slicer does. FileExistsError: both have it."""
    for module in MODULES:
        for name in installed_files(checkout, module):
            target = folder / name
            if target.exists():
                raise FileExistsError(f"{name} comes from both modules")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(checkout / module / name, target)
