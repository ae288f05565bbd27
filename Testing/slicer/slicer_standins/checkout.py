"""Slicer's own Python in place of what stands for it: Base/Python of the checkout that SPINALCORDSEG_SLICER names.

Its base classes of scripted modules, parameter node wrapper, translations, packaging and slicer.util then serve the
panels; the widgets, which are C++, stay stand-ins.
"""

import importlib
import os
import re
import sys
from pathlib import Path

import slicer

from slicer_standins.pythonqt import ctk

VARIABLE = "SPINALCORDSEG_SLICER"
MODULES = ("util", "i18n", "packaging", "ScriptedLoadableModule", "parameterNodeWrapper")


def folder() -> Path | None:
    """Of the package ``slicer`` in the checkout; None where no checkout is named. Raises AssertionError without it."""
    named = os.environ.get(VARIABLE)
    if not named:
        return None
    package = Path(named) / "Base" / "Python" / "slicer"
    assert (package / "ScriptedLoadableModule.py").is_file(), f"{VARIABLE}={named} holds no Base/Python/slicer"
    return package


def publish(package: Path) -> None:
    """Before anything of ours is imported. What the wheel already loaded under the same names is loaded anew."""
    if str(package) in slicer.__path__:
        return
    slicer.__path__.insert(0, str(package))
    for connectors in package.glob("parameterNodeWrapper/*.py"):  # they ask whether a widget is one of these
        names = re.findall(r"\b(ctk|slicer)\.((?:ctk|qMRML|qSlicer)\w+)", connectors.read_text(encoding="utf-8"))
        for module, name in names:
            place = ctk if module == "ctk" else slicer
            if not hasattr(place, name):
                setattr(place, name, type(name, (), {}))
    for name in MODULES:
        sys.modules.pop(f"slicer.{name}", None)
        setattr(slicer, name, importlib.import_module(f"slicer.{name}"))
