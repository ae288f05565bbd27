"""What no program file may do: run text or a shell, unpickle, unpack archives, reach the network; and who may."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from source_tree import Import, Source, imports_of

_FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__", "breakpoint"}
# As imported by name or called by attribute.
_FORBIDDEN_NAMES = {
    "torch.load", "torch.save", "torch.hub", "torch.jit", "torch.package",
    "os.system", "os.popen", "os.startfile", "os.execv", "os.execvp", "os.spawnv", "os.spawnvp",
    "tempfile.mktemp", "shutil.unpack_archive", "yaml.load", "numpy.load", "pandas.read_pickle",
}  # fmt: skip
_PICKLING = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "multiprocessing"}
_ARCHIVES = {"zipfile", "tarfile", "py7zr", "rarfile"}
_NETWORK = {
    "socket", "socketserver", "ssl", "asyncio", "urllib", "urllib3", "http", "ftplib", "smtplib", "poplib", "imaplib",
    "telnetlib", "nntplib", "xmlrpc", "wsgiref", "webbrowser", "requests", "httpx", "aiohttp", "websockets", "paramiko",
    "boto3", "huggingface_hub", "pynetdicom", "dicomweb_client", "SampleData", "distributed", "dask",
}  # fmt: skip
_XML = {"xml", "lxml", "defusedxml"}

# What may do it all the same, file by file, and why.
_MAY_IMPORT = {
    ("SampleData", "sample_data.py"): "hands an address and its SHA-256 to Slicer, which downloads it on a click",
    ("distributed", "batch.py"): "speaks to the scheduler that --scheduler names, and to no other",
    ("zipfile", "case.py"): "for the error alone that numpy raises on a damaged .npz",
    ("xml", "dataset.py"): "reads ITK-SNAP's workspaces with expat, which refuses every entity (test_workspace)",
}
_MAY_CALL = {
    ("numpy.load", "case.py"): "reads the grey values about the cord, with allow_pickle=False",
    ("numpy.load", "slice_cache.py"): "maps the slice cache, with allow_pickle=False",
}
_MAY_START_PROGRAMS = {
    "jobs.py": "the panel's own command line",
    "install.py": "for the error alone that a failed pip of Slicer raises",
}
_MAY_NAME_ADDRESSES = {
    "sample_data.py": "the public neck of the tutorial",
}
_MAY_INSTALL = {"install.py": "on a click, after a question with size and purpose"}
_RANKS = {"distributed.py": "gradients between the processes that torchrun started"}


@pytest.fixture(scope="module")
def program(sources: list[Source]) -> list[Source]:
    return [source for source in sources if source.path.parts[0] not in ("Testing", "tools")]


@pytest.fixture(scope="module")
def imported(program: list[Source]) -> list[tuple[Source, Import]]:
    """Every import of the program, those in functions too."""
    return [(source, found) for source in program for found in imports_of(source)]


@pytest.fixture(scope="module")
def used(program: list[Source]) -> dict[str, set[str]]:
    """Every dotted name that begins with something imported → the names of the files that use it."""
    names: dict[str, set[str]] = {}
    for source in program:
        for _, name in _used(source):
            names.setdefault(name, set()).add(source.path.name)
    return names


def _written_names(source: Source) -> dict[str, str]:
    """What each name of the file stands for: ``np`` for numpy, ``load`` for torch.load."""
    names: dict[str, str] = {}
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            names |= {alias.asname or alias.name.partition(".")[0]: alias.name if alias.asname else
                      alias.name.partition(".")[0] for alias in node.names}  # fmt: skip
        elif isinstance(node, ast.ImportFrom):
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return names


def _used(source: Source) -> Iterator[tuple[int, str]]:
    """Every dotted name in the file, spelled out from its import on."""
    names = _written_names(source)
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute | ast.Name):
            parts: list[str] = []
            root: ast.AST = node
            while isinstance(root, ast.Attribute):
                parts.insert(0, root.attr)
                root = root.value
            if isinstance(root, ast.Name) and root.id in names:
                yield node.lineno, ".".join([names[root.id], *parts])


def _dangerous(source: Source) -> list[str]:
    wrong = [
        f"{source.path}:{line} {name}"
        for line, name in _used(source)
        for forbidden in _FORBIDDEN_NAMES
        if (name == forbidden or name.startswith(forbidden + ".")) and (forbidden, source.path.name) not in _MAY_CALL
    ]
    for call in (node for node in ast.walk(source.tree) if isinstance(node, ast.Call)):
        keywords = {word.arg: ast.unparse(word.value) for word in call.keywords}
        if (
            (isinstance(call.func, ast.Name) and call.func.id in _FORBIDDEN_CALLS)
            or keywords.get("shell", "False") != "False"
            or keywords.get("allow_pickle", "False") != "False"
        ):
            wrong.append(f"{source.path}:{call.lineno} {ast.unparse(call)[:60]}")
    return wrong


def test_nothing_runs_text_or_a_shell_or_unpickles(program: list[Source]) -> None:
    assert [wrong for source in program for wrong in _dangerous(source)] == []


@pytest.mark.parametrize("modules", [_PICKLING, _ARCHIVES, _NETWORK, _XML], ids=["pickle", "archive", "network", "xml"])
def test_modules_stay_out(imported: list[tuple[Source, Import]], modules: set[str]) -> None:
    """In functions too. What may import one all the same has its reason in the table above, and uses it."""
    found = {(f.top, s.path.name): f"{s.path}:{f.line}" for s, f in imported if f.top in modules}
    assert {where for one, where in found.items() if one not in _MAY_IMPORT} == set()
    assert {one for one in _MAY_IMPORT if one[0] in modules} <= found.keys(), "no longer used: take it off the table"


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        (("subprocess.", "QProcess", "qt.QProcess"), _MAY_START_PROGRAMS),
        (("slicer.util.pip_install", "slicer.packaging."), _MAY_INSTALL),
        (("torch.distributed",), _RANKS),
    ],
    ids=["programs", "packages", "ranks"],
)
def test_only_these_files_do_it(
    imported: list[tuple[Source, Import]], used: dict[str, set[str]], names: tuple[str, ...], allowed: dict[str, str]
) -> None:
    found = {s.path.name for s, f in imported if (f.name + ".").startswith(names)}
    found |= {file for name, files in used.items() if name.startswith(names) for file in files}
    assert found == allowed.keys()


def test_addresses_stand_only_where_something_is_downloaded_on_a_click(program: list[Source]) -> None:
    found = set()
    for source in (source for source in program if "://" in source.text):
        docstrings = {id(node.body[0].value) for node in ast.walk(source.tree) if _has_docstring(node)}
        for node in ast.walk(source.tree):
            is_text = isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings
            if is_text and any(scheme in node.value for scheme in ("http://", "https://", "ftp://")):
                found.add(source.path.name)
    assert found == _MAY_NAME_ADDRESSES.keys()


def _has_docstring(node: ast.AST) -> bool:
    holders = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    return isinstance(node, holders) and ast.get_docstring(node, clean=False) is not None
