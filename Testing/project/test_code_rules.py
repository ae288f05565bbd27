"""Rules that hold in every Python file, and what no file of the repository may say."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from source_tree import Source

_MAX_FILE_LINES = 300
_MAX_SLICER_FILE_LINES = 250
_MAX_FUNCTION_LINES = 60
_MAY_PRINT = {"cli.py", "child.py", "__main__.py", "progress.py"}  # and exit
_STEMS_THAT_SAY_NOTHING = {"utils", "util", "helpers", "helper", "common", "misc"}

# file name → why it may catch everything there
_BROAD_EXCEPT: dict[str, str] = {
    "cluster.py": "as in batch.py, while reading ahead: raised again when the case's turn comes",
    "track_command.py": "as in batch.py, for the persons of a manifest",
    "batch.py": "a fault of the program in one case must not cost the other cases theirs; the case is reported failed",
}

# Parts of the workplace of whoever writes here; put together so that this file does not hold them itself.
_WORKPLACE = [
    re.compile(r"(?<![\w.])/" + r"(work|farm|root|home/\w+)/"),
    re.compile(r"\.lib" + r"rary/"),
    re.compile("pypi" + r"\.org|python" + r"hosted|deb\.debian" + r"\.org|registry\.npm" + "js"),
]


def _program(sources: list[Source]) -> list[Source]:
    return [source for source in sources if source.path.parts[0] != "Testing"]


def _calls(source: Source) -> list[ast.Call]:
    return [node for node in ast.walk(source.tree) if isinstance(node, ast.Call)]


def test_files_are_short(sources: list[Source]) -> None:
    lengths = {str(source.path): len(source.text.splitlines()) for source in sources}
    assert {path: lines for path, lines in lengths.items() if lines > _MAX_FILE_LINES} == {}


def test_files_of_the_modules_are_shorter_still(sources: list[Source]) -> None:
    """Module scripts, node layer and panels: a file per class of work."""
    parts = {"SpinalCordSegNodes", "SpinalCordSegWidgets", "SpinalCordSegTrainerWidgets"}
    modules = [s for s in sources if s.package in parts or s.path.parts[:-1] == (s.path.stem,)]
    assert {"SpinalCordSeg.py", "SpinalCordSegTrainer.py"} <= {source.path.name for source in modules}
    lengths = {str(source.path): len(source.text.splitlines()) for source in modules}
    assert {path: lines for path, lines in lengths.items() if lines >= _MAX_SLICER_FILE_LINES} == {}


def test_functions_are_short(sources: list[Source]) -> None:
    too_long = {
        f"{source.path}:{node.lineno} {node.name}": node.end_lineno - node.lineno + 1
        for source in sources
        for node in ast.walk(source.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > _MAX_FUNCTION_LINES
    }
    assert too_long == {}


def test_file_names_say_what_is_in_them(sources: list[Source]) -> None:
    assert [str(source.path) for source in sources if source.path.stem in _STEMS_THAT_SAY_NOTHING] == []


def test_every_file_says_what_it_is_for(sources: list[Source]) -> None:
    program = [source for source in _program(sources) if source.path.name != "__init__.py"]
    silent = [str(source.path) for source in program if not ast.get_docstring(source.tree)]
    assert silent == []


def test_libraries_do_not_print_or_exit(sources: list[Source]) -> None:
    wrong = []
    for source in _program(sources):
        if source.path.name in _MAY_PRINT:
            continue
        for call in _calls(source):
            if ast.unparse(call.func) in ("print", "input", "exit", "quit", "sys.exit", "os._exit"):
                wrong.append(f"{source.path}:{call.lineno} {ast.unparse(call.func)}")
    assert wrong == []


def test_nothing_swallows_every_error(sources: list[Source]) -> None:
    wrong = [
        f"{source.path}:{node.lineno}"
        for source in _program(sources)
        if source.path.name not in _BROAD_EXCEPT
        for node in ast.walk(source.tree)
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or {"Exception", "BaseException"} & _names(node.type))
    ]
    assert wrong == []


def _names(node: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}


def test_nothing_is_left_undone(sources: list[Source]) -> None:
    marker = re.compile(r"#\s*(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b")
    left = [
        f"{source.path}:{number}"
        for source in sources
        for number, line in enumerate(source.text.splitlines(), 1)
        if marker.search(line)
    ]
    assert left == []


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
