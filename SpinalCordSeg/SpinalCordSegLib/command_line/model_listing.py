"""What the command "models" tells. Nothing heavy is imported: it answers at once."""

from __future__ import annotations

import argparse
from typing import Any

from SpinalCordSegLib.command_line.progress import Reporter
from SpinalCordSegLib.errors import ModelFileError
from SpinalCordSegLib.model.checkpoint import ModelCard, find_models, user_models_folder, verified_card

_SOME_DAMAGED = 1


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """List the models at hand, or explain the one named; returns the exit code. Raises ModelFileError."""
    if arguments.file is not None:
        reporter.text(_explained(verified_card(arguments.file)))
        return 0
    found = find_models()
    if not found:
        reporter.text(f"no models found; put weights files (.safetensors) into {user_models_folder()}")
    damaged = False
    for number, path in enumerate(found):
        used = " (used by default)" if number == 0 else ""
        try:
            card = verified_card(path)
        except ModelFileError as error:
            damaged = True
            reporter.error(str(error), type(error).__name__)
            continue
        network = f"{card.network.get('name')}, width {card.network.get('width')}"
        reporter.text(f"{card.name} {card.version}{used}\n  {path}\n  {network}; SHA-256 {card.sha256}")
    return _SOME_DAMAGED if damaged else 0


def _explained(card: ModelCard) -> str:
    lines = [f"{card.name} {card.version}", f"  file: {card.path}", f"  SHA-256: {card.sha256}"]
    lines += [f"  licence: {card.licence}", f"  made with SpinalCordSeg {card.software_version}"]
    for title in ("network", "normalisation", "calibration", "provenance", "scores", "training"):
        lines += _block(title, getattr(card, title), "  ")
    return "\n".join(lines)


def _block(title: str, value: Any, indent: str) -> list[str]:
    """A card's entry as indented lines."""
    words = title.replace("_", " ")
    if isinstance(value, dict):
        inner = [line for name, entry in value.items() for line in _block(str(name), entry, indent + "  ")]
        return [f"{indent}{words}:", *inner] if inner else []
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        return [f"{indent}{words}:", *(line for entry in value for line in _block("-", entry, indent + "  "))]
    if isinstance(value, list) and any(" " in str(entry) for entry in value):  # sentences
        return [f"{indent}{words}:", *(f"{indent}  - {entry}" for entry in value)]
    text = ", ".join(map(str, value)) if isinstance(value, list) else value
    return [f"{indent}{words}: {text}"]
