"""Where models are found: beside the package, and in a folder of the user's own. Only the standard library."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from SpinalCordSegLib.errors import ModelFileError

MODELS_VARIABLE = "SPINALCORDSEG_MODELS"


def package_models_folder() -> Path:
    """Where the package's own models lie: ``Resources/Models`` beside it in a checkout and in an installed Slicer,
    ``Models`` inside it where pip installed a wheel. It may not exist."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "Models"
    return inside if inside.is_dir() else package.parent / "Resources" / "Models"


def user_models_folder() -> Path:
    """The user's own models: $SPINALCORDSEG_MODELS, else the platform's data folder. It may not exist."""
    chosen = os.environ.get(MODELS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "SpinalCordSeg" / "Models"


def find_models() -> list[Path]:
    """All weights files, the package's first, then the user's, each by name. May be empty."""
    found: list[Path] = []
    for folder in (package_models_folder(), user_models_folder()):
        if folder.is_dir():
            found += sorted(path for path in folder.glob("*.safetensors") if path.is_file())
    return found


def default_model() -> Path:
    """The first model of ``find_models``. Raises ModelFileError when there is none."""
    found = find_models()
    if not found:
        raise ModelFileError(
            f"no model was found in {package_models_folder()} or {user_models_folder()}: name a weights file"
            f" (--model FILE), put one there, or set {MODELS_VARIABLE} to a folder that has one"
        )
    return found[0]
