"""Bring SpinalCordSeg/Resources/Translations/*.ts up to date with the texts of both panels: ``make translations``;
begin French: ``make translations NEW=fr``.

The files are named and laid out as Slicer's LanguagePacks extension takes them (COMPONENT_LANGUAGE.ts; context: the
class of a .ui file, PACKAGE.FILE or FILE of Python code, as ``slicer.i18n`` asks for it). A translation stays as long
as its text does; a new text is "unfinished", and shown in English.
"""

from __future__ import annotations

import ast
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

_CHECKOUT = Path(__file__).resolve().parents[1]
FOLDER = _CHECKOUT / "SpinalCordSeg" / "Resources" / "Translations"
_MODULES = ("SpinalCordSeg", "SpinalCordSegTrainer")


def texts() -> dict[str, list[str]]:
    """Context → its texts, in the order of the files."""
    found: dict[str, list[str]] = {}
    for module in _MODULES:
        tree = ElementTree.parse(_CHECKOUT / module / "Resources" / "UI" / f"{module}.ui")
        kept = [element for element in tree.iter("string") if element.get("notr") != "true"]
        names = {id(element) for listed in tree.iter("stringlist") for element in listed}
        found[tree.findtext("class") or module] = [e.text for e in kept if e.text and id(e) not in names]
        folder = _CHECKOUT / module
        for path in [folder / f"{module}.py", *sorted((folder / f"{module}Widgets").glob("*.py"))]:
            context = path.stem if path.stem == module else f"{path.parent.name}.{path.stem}"
            tree_of_code = ast.parse(path.read_text(encoding="utf-8"))
            calls = [node for node in ast.walk(tree_of_code) if isinstance(node, ast.Call)]
            literals = [call.args[0] for call in calls if ast.unparse(call.func) == "_" and call.args]
            found.setdefault(context, []).extend(text.value for text in literals if isinstance(text, ast.Constant))
    return {context: list(dict.fromkeys(listed)) for context, listed in found.items() if listed}


def translated(path: Path) -> dict[tuple[str, str], str]:
    """(context, text) → its finished translation."""
    return {
        (context.findtext("name", ""), message.findtext("source", "")): message.findtext("translation", "")
        for context in ElementTree.parse(path).iter("context")
        for message in context.iter("message")
        if message.find("translation").get("type") != "unfinished"
    }


def write(path: Path, known: dict[tuple[str, str], str]) -> None:
    root = ElementTree.Element("TS", version="2.1", language=path.stem.rpartition("_")[2], sourcelanguage="en-US")
    for name, listed in texts().items():
        context = ElementTree.SubElement(root, "context")
        ElementTree.SubElement(context, "name").text = name
        for text in listed:
            message = ElementTree.SubElement(context, "message")
            ElementTree.SubElement(message, "source").text = text
            attributes = {} if (name, text) in known else {"type": "unfinished"}
            ElementTree.SubElement(message, "translation", attributes).text = known.get((name, text))
    ElementTree.indent(root)
    body = ElementTree.tostring(root, encoding="unicode")
    path.write_text(f'<?xml version="1.0" encoding="utf-8"?>\n<!DOCTYPE TS>\n{body}\n', encoding="utf-8")


def main() -> int:
    total = sum(map(len, texts().values()))
    begun = (FOLDER / f"SpinalCordSeg_{language}.ts" for language in sys.argv[1:])
    for path in sorted({*FOLDER.glob("*.ts"), *begun}):
        write(path, translated(path) if path.exists() else {})
        print(f"{path.name}: {len(translated(path))} of {total} texts are translated")
    return 0


if __name__ == "__main__":
    sys.exit(main())
