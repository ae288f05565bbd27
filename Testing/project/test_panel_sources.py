"""Every text of the panels can be translated, as one literal; no .ui file and no code that Qt 5.15 or Qt 6 does not
know."""

import ast
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import translations

from source_tree import Source

_SHOWING = {
    "setText", "setToolTip", "setTitle", "setWindowTitle", "setPlaceholderText", "addItem", "addAction", "drawText",
    "setHorizontalHeaderLabels", "setStatusTip", "tell", "_tell", "confirmOkCancelDisplay", "errorDisplay",
    "getOpenFileName", "getSaveFileName", "getExistingDirectory",
}  # fmt: skip
_SHOWN = {"text", "toolTip", "title", "placeholderText", "helpText", "acknowledgementText"}
_NO_WORDS = re.compile(r"^(\*?\.|vtk|https?:|cord$|mm)|^[^A-Za-z]*$|^[a-z]+$")  # file filters, class names, units, keys


def _panels(sources: list[Source]) -> list[Source]:
    return [s for s in sources if s.package.endswith("Widgets") or s.path.parent.name == s.path.stem]


def faults(tree: ast.Module) -> list[str]:
    """Words that are shown as they are written, and texts that a translator's tools could not collect."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _name(node.func) in _SHOWING:
            found += [f"line {node.lineno}: {words!r}" for argument in node.args for words in _words(argument)]
        elif isinstance(node, ast.Assign) and any(_name(target) in _SHOWN for target in node.targets):
            found += [f"line {node.lineno}: {words!r}" for words in _words(node.value)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "_" and not _one_literal(node):
            found.append(f"line {node.lineno}: {ast.unparse(node)} is not one literal")
    return found


def _one_literal(call: ast.Call) -> bool:
    return len(call.args) == 1 and isinstance(call.args[0], ast.Constant)


def _name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _words(node: ast.expr) -> list[str]:
    """Literals with words in them that reach the user untranslated: not below a call of the translation function."""
    if isinstance(node, ast.Call) and _name(node.func) in ("_", "translate"):
        return []
    if isinstance(node, ast.Call):  # what a function of ours gives has been looked at where it is made
        return [words for part in (*node.args, node.func) for words in _words(part)] if _is_format(node) else []
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) and not _NO_WORDS.match(node.value) else []
    if isinstance(node, ast.Compare | ast.Subscript | ast.Lambda):
        return []
    if isinstance(node, ast.FormattedValue):  # its format is no text
        return _words(node.value)
    return [words for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr) for words in _words(child)]


def _is_format(node: ast.Call) -> bool:
    return isinstance(node.func, ast.Attribute) and node.func.attr in ("format", "join")


def test_every_text_of_the_panels_is_translated(sources: list[Source]) -> None:
    wrong = {str(source.path): found for source in _panels(sources) if (found := faults(source.tree))}
    assert wrong == {}


_NAMES = {"SlicerParameterName", "nodeTypes"}  # of parameters and classes: translated, nothing would find them
_INTERACTIVE = ("Button", "Box", "Edit", "Selector")


def test_names_in_ui_files_are_kept_from_translators_and_nothing_else_is(checkout: Path, tracked: list[Path]) -> None:
    for path in [checkout / path for path in tracked if path.suffix == ".ui"]:
        for declared in ElementTree.parse(path).iter("property"):
            kept = [element.get("notr") == "true" for element in declared if element.tag in ("string", "stringlist")]
            assert kept in ([], [declared.get("name") in _NAMES]), (path.name, declared.get("name"))


def test_what_can_be_pressed_or_filled_says_what_it_does(checkout: Path, sources: list[Source]) -> None:
    """In the .ui file, or where the code gives a tool tip to it."""
    code = "".join(ast.unparse(source.tree) for source in _panels(sources))
    for path in checkout.glob("*/Resources/UI/*.ui"):
        for widget in ElementTree.parse(path).iter("widget"):
            name = widget.get("name", "")
            if name != "noticeButton" and name.endswith(_INTERACTIVE) and widget.get("class") != "ctkCollapsibleButton":
                has_tip = any(declared.get("name") == "toolTip" for declared in widget.findall("property"))
                assert has_tip or f"{name}.toolTip" in code or f"'{name}'" in code, f"{path.name}: {name}"


def test_translations_keep_what_is_filled_in() -> None:
    """Slicer refuses a translation whose {names} differ from the text's."""
    for path in translations.FOLDER.glob("*.ts"):
        for (_context, text), translation in translations.translated(path).items():
            assert sorted(re.findall(r"{[^{}]+}", text)) == sorted(re.findall(r"{[^{}]+}", translation)), text


# No .ui file and no code that Qt 5.15, which Slicer's released binaries have, could not load, or Qt 6 not know.


# Written by newer designers: "Qt::Orientation::Horizontal" for "Qt::Horizontal".
_SCOPED_IN_UI = re.compile(r"^\w+::\w+::\w+")
_SCOPED_IN_CODE = re.compile(r"^qt\.(Q[A-Z]\w+|Qt)\.[A-Z]\w*\.\w+$")
_GONE_IN_QT6 = {"QTextCodec", "QRegExp", "QDesktopWidget", "QStringRef", "setMargin"}
_SIGNALS_GONE = {"currentIndexChanged(QString)", "activated(QString)", "buttonClicked(int)"}


def _faults_of_ui(text: str) -> list[str]:
    root = ElementTree.fromstring(text)
    faults = [] if root.get("version") == "4.0" else [f"{root.tag} version {root.get('version')}"]
    for element in root.iter():
        if element.tag in ("enum", "set"):
            faults += [value for value in (element.text or "").split("|") if _SCOPED_IN_UI.match(value.strip())]
        if element.tag == "signal" and element.text in _SIGNALS_GONE:
            faults.append(element.text or "")
    return faults


def _faults_of_code(tree: ast.Module) -> list[str]:
    faults = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            name = ast.unparse(node)
            if _SCOPED_IN_CODE.match(name) or node.attr in _GONE_IN_QT6:
                faults.append(f"line {node.lineno}: {name}")
        elif isinstance(node, ast.Constant) and node.value in _SIGNALS_GONE:
            faults.append(f"line {node.lineno}: {node.value}")
    return faults


def test_ui_files_load_in_qt_5(checkout: Path, tracked: list[Path]) -> None:
    files = [path for path in tracked if path.suffix == ".ui"]
    assert files
    assert {p: found for p in files if (found := _faults_of_ui((checkout / p).read_text(encoding="utf-8")))} == {}


def test_code_of_the_modules_loads_in_qt_5_and_6(sources: list[Source]) -> None:
    ours = [source for source in sources if source.path.parts[0] != "Testing"]
    assert {s.path: found for s in ours if (found := _faults_of_code(s.tree))} == {}
