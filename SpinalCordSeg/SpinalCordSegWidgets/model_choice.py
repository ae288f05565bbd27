"""The choice of model: those that come along, the user's own, and any file; each with its card."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import qt
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ModelFileError
from SpinalCordSegLib.network.card import ModelCard, load_card
from SpinalCordSegLib.network.models import find_models, user_models_folder

_MOST_LINES = 40  # of a tooltip
_log = logging.getLogger(__name__)


class ModelChoice:
    """``changed`` is called after the user chose another model. Cards are read without torch."""

    def __init__(self, box: Any, button: Any, card_label: Any, changed: Callable[[], None]) -> None:
        self._box, self._card_label, self._changed = box, card_label, changed
        self._files: list[Path] = []
        self.why_none = ""
        menu = qt.QMenu(button)
        menu.addAction(_("Load from file…")).connect("triggered()", self._ask_for_file)
        menu.addAction(_("Open the folder of own models")).connect("triggered()", self.open_own_folder)
        menu.addAction(_("Look again")).connect("triggered()", self.refresh)
        button.setMenu(menu)
        button.setPopupMode(qt.QToolButton.InstantPopup)
        box.connect("currentIndexChanged(int)", self._on_chosen)
        self.refresh()

    @property
    def path(self) -> Path | None:
        text = self._box.itemData(self._box.currentIndex) if self._box.count else None
        return Path(text) if text else None

    @property
    def card(self) -> ModelCard | None:
        """None without a model, or when its file can no longer be read (``why_none`` tells)."""
        if self.path is None:
            self.why_none = _("There is no model: load one from a file, or put one into the folder of own models.")
            return None
        try:
            return load_card(self.path)
        except ModelFileError as error:
            self.why_none = str(error)
            return None

    def refresh(self) -> None:
        """List again what is there; the selection stays where it can."""
        chosen = self.path
        known = [path for path in self._files if path.is_file()]
        self._box.blockSignals(True)
        self._box.clear()
        for path in dict.fromkeys([*find_models(), *known]):
            self._add(path)
        self._box.blockSignals(False)
        self.select(str(chosen) if chosen else "")
        self._show_card()

    def select(self, path: str) -> None:
        """Choose a file, listed or not; "" chooses the first."""
        index = self._box.findData(path) if path else 0
        if index < 0 and Path(path).is_file():
            self._files.append(Path(path))
            self._add(Path(path))
            index = self._box.findData(path)
        self._box.setCurrentIndex(max(0, index))

    def load_file(self, path: str) -> None:
        """What "Load from file…" does with the chosen file; a file that is no model of ours is refused in the card."""
        try:
            load_card(Path(path))
        except ModelFileError as error:
            self._card_label.setText(str(error).replace(str(Path(path).parent), "").lstrip("/\\"))
            return
        self.select(path)

    def open_own_folder(self) -> None:
        folder = user_models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _ask_for_file(self) -> None:
        path = qt.QFileDialog.getOpenFileName(
            self._box, _("Load a model"), str(user_models_folder()), _("Models (*.safetensors)")
        )
        path = path[0] if isinstance(path, tuple) else path  # PyQt's manner and PythonQt's
        if path:
            self.load_file(path)

    def _add(self, path: Path) -> None:
        try:
            card = load_card(path)
        except ModelFileError as error:
            _log.warning("%s", error)
            return
        self._box.addItem(f"{card.name} {card.version}", str(path))

    def _on_chosen(self, _index: int) -> None:
        self._show_card()
        self._changed()

    def _show_card(self) -> None:
        card = self.card
        self._card_label.setText(self.why_none if card is None else summary(card))
        self._card_label.setToolTip("" if card is None else details(card))


def summary(card: ModelCard) -> str:
    """What it is, what it was trained on and under which licence, in a line or two."""
    network = str(card.network.get("name", "")).replace("ra_unet", "RA-U-Net").replace("unet", "U-Net")
    return " · ".join(part for part in (network, trained_on(card.provenance), card.licence) if part)


def trained_on(provenance: Mapping[str, Any]) -> str:
    """ "trained on 1,200 real and 30,000 simulated slices"; "" where the card does not say."""
    slices: dict[str, int] = {}
    sources = provenance.get("sources")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict) and isinstance(source.get("slices"), int):
            kind = str(source.get("kind"))
            slices[kind] = slices.get(kind, 0) + source["slices"]
    if not slices:
        return ""
    counts = {"real": _("{n} real"), "simulated": _("{n} simulated")}
    parts = [words.format(n=f"{slices[kind]:,}") for kind, words in counts.items() if kind in slices]
    return _("trained on {parts} slices").format(parts=_(" and ").join(parts)) if parts else ""


def details(card: ModelCard) -> str:
    """Everything the card says about training and scores, a line each."""
    lines = [f"{card.name} {card.version}", str(card.path.name)]
    for title, content in ((_("Scores"), card.scores), (_("Made from"), card.provenance)):
        lines += [f"{title}:", *(f"  {line}" for line in json.dumps(content, indent=1).splitlines()[1:-1])]
    return "\n".join(lines[:_MOST_LINES])
