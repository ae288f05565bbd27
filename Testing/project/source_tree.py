"""The repository's files, and what each Python file imports: read, never run."""

from __future__ import annotations

import ast
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_NOT_OURS = {".git", ".venv", "out", "runs", "build", "dist", "__pycache__"}


@dataclass(frozen=True)
class Source:
    """One Python file: its path in the repository, its package's name (empty outside packages), its text and tree."""

    path: Path
    package: str
    text: str
    tree: ast.Module = field(repr=False)

    @property
    def module(self) -> str:
        """The dotted name that it is imported by, or its path where it is no part of a package."""
        if not self.package:
            return self.path.as_posix()
        parts = self.path.with_suffix("").parts[1:]
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@dataclass(frozen=True)
class Import:
    """``name`` as written (``a.b.c`` for ``from a.b import c``); ``deferred``: only when a function runs."""

    name: str
    line: int
    deferred: bool

    @property
    def top(self) -> str:
        return self.name.partition(".")[0]


def tracked_files(root: Path) -> list[Path]:
    """All files under version control that are there, relative to ``root``; without git every file but the caches."""
    listing = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached"], capture_output=True, check=False, text=True
    )
    if listing.returncode == 0 and listing.stdout:
        names = [Path(name) for name in listing.stdout.split("\0") if name]
        return sorted(name for name in names if (root / name).is_file())
    found = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(path for path in found if not _NOT_OURS & set(path.parts))


def read_sources(root: Path, files: list[Path]) -> list[Source]:
    """The Python files among ``files``. A folder directly in a module's folder is a package."""
    sources = []
    for path in files:
        if path.suffix == ".py":
            text = (root / path).read_text(encoding="utf-8")
            in_package = len(path.parts) > 2 and path.parts[0].startswith("SpinalCordSeg")
            package = path.parts[1] if in_package and path.parts[1] not in ("Resources", "Testing") else ""
            sources.append(Source(path, package, text, ast.parse(text, filename=str(path))))
    return sources


def imports_of(source: Source) -> list[Import]:
    """Every import, in functions too. Those under ``if TYPE_CHECKING`` are left out: they are never run."""
    return list(_imports(source.tree, deferred=False))


def _imports(node: ast.AST, deferred: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(alias.name, child.lineno, deferred) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            base = "." * child.level + (child.module or "")
            yield from (Import(f"{base}.{alias.name}", child.lineno, deferred) for alias in child.names)
        elif isinstance(child, ast.If) and ast.unparse(child.test).endswith("TYPE_CHECKING"):
            yield from (found for other in child.orelse for found in _imports(other, deferred))
        else:
            in_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            yield from _imports(child, deferred or in_function)
