"""The section Segment: volume, model, device, the button that is Apply or Cancel, and the result in numbers."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import qt
import slicer
from slicer.i18n import tr as _

from SpinalCordSegLib.errors import ModelFileError, SpinalCordSegError
from SpinalCordSegLib.model.checkpoint import Checkpoint, find_models, load_card, publish_model, user_models_folder
from SpinalCordSegNodes.editing import untouched_result
from SpinalCordSegNodes.results import add_result, remove_result
from SpinalCordSegNodes.volumes import image_state, label_of, volume_from_node
from SpinalCordSegWidgets.install import (
    SIZE,
    Dependencies,
    DeviceChoice,
    DeviceProbe,
    check_dependencies,
    install,
    package_actions,
)
from SpinalCordSegWidgets.jobs import segment_job
from SpinalCordSegWidgets.section import (
    Choice,
    Picture,
    Section,
    copy_report,
    fill_menu,
    grey,
    on_click,
    short,
    show_run,
    show_text,
    single_shot,
)

if TYPE_CHECKING:
    from SpinalCordSegLib.case import Case
    from SpinalCordSegWidgets.main_widget import Panel

_MOST_LINES = 40  # of a tooltip
_PICTURE_LETTERS = 15  # height of the area plot
_MOST_LETTER_PX = 11.0  # in it; what is below its axis is as wide as the panel then
_SETTLE_MS = 100  # a volume that is being loaded has its voxels then
_log = logging.getLogger(__name__)


class ModelChoice:
    """The models that come along and the user's own, each with its card, which is read without torch.

    ``changed`` is called after the user chose another model."""

    def __init__(self, box: Any, button: Any, card_label: Any, changed: Callable[[], None]) -> None:
        self._box, self._card_label, self._changed = box, card_label, changed
        self.why_none = ""
        button.connect("clicked()", self._ask_for_file)
        box.connect("currentIndexChanged(int)", self._on_chosen)
        self.refresh()

    @property
    def path(self) -> Path | None:
        text = self._box.itemData(self._box.currentIndex) if self._box.count else None
        return Path(text) if text else None

    @property
    def card(self) -> Checkpoint | None:
        """None without a model, or when its file can no longer be read (see ``why_none``)."""
        if self.path is None:
            self.why_none = _("There is no model: add one from a file (button … beside the list).")
            return None
        try:
            return load_card(self.path)
        except ModelFileError as error:
            self.why_none = str(error)
            return None

    def refresh(self) -> None:
        """List again what is there; the selection stays where it can."""
        chosen = self.path
        self._box.blockSignals(True)
        self._box.clear()
        for path in find_models():
            try:
                card = load_card(path)
            except ModelFileError as error:
                _log.warning("%s", error)
            else:
                self._box.addItem(f"{card.name} {card.version}", str(path))
        self._box.blockSignals(False)
        self.select(str(chosen) if chosen else "")
        self._show_card()

    def select(self, path: str) -> None:
        """Choose a file of the list; the first where it is not there."""
        self._box.setCurrentIndex(max(0, self._box.findData(path)))

    def add(self, path: Path) -> None:
        """Copy a file to the user's models and choose it; one that is no model of ours is refused in the card."""
        try:
            load_card(path)
            target = path if path.parent == user_models_folder() else publish_model(path, path.stem)
        except SpinalCordSegError as error:
            self._card_label.setText(str(error).replace(str(path.parent), "").lstrip("/\\"))
            return
        self.refresh()
        self.select(str(target))

    def _ask_for_file(self) -> None:
        pattern, folder = _("Models (*.safetensors)"), str(user_models_folder())
        chosen = qt.QFileDialog.getOpenFileName(self._box, _("Add a model"), folder, pattern)
        if chosen:
            self.add(Path(chosen))

    def _on_chosen(self, _index: int) -> None:
        self._show_card()
        self._changed()

    def _show_card(self) -> None:
        card = self.card
        self._card_label.setText(self.why_none if card is None else _summary(card))
        self._card_label.setToolTip("" if card is None else _details(card))


def _summary(card: Checkpoint) -> str:
    """What it is, what it was trained on and under which licence, in a line or two."""
    sources = card.provenance.get("sources")
    known = [one for one in sources if isinstance(one, dict)] if isinstance(sources, list) else []
    slices = sum(one["slices"] for one in known if isinstance(one.get("slices"), int))
    text = _("trained on {n} slices ({kinds})")
    kinds = ", ".join(sorted({str(one.get("kind")) for one in known}))
    trained = text.format(n=f"{slices:,}", kinds=kinds) if slices else ""
    return " · ".join(part for part in (card.network.title, trained, card.licence) if part)


def _details(card: Checkpoint) -> str:
    """What the card says about training and scores, a line each."""
    content = {"scores": card.scores, "provenance": card.provenance}
    return "\n".join(json.dumps(content, indent=1, ensure_ascii=False).splitlines()[1:_MOST_LINES])


class SegmentSection(Section):
    """Model and device are kept in the module's parameter node by hand: what there is to choose changes, and the
    wrapper's choices are fixed."""

    def __init__(self, panel: Panel) -> None:
        super().__init__(panel, panel.ui.segmentSection)
        ui = self.ui
        self.dependencies = Dependencies()
        self.models = ModelChoice(ui.modelBox, ui.modelButton, ui.modelCard, self._on_model)
        self.devices = DeviceChoice(ui.deviceBox)
        self.probe = DeviceProbe(self._on_probe)
        self.choice = Choice(panel, ui.volumeSelector, lambda _node: panel.show_message(""))
        self._loaded = single_shot(_SETTLE_MS, lambda: self._choose_only(panel.parameters))
        scene = slicer.mrmlScene
        self.choice.tags.append(scene.AddObserver(scene.NodeAddedEvent, lambda *_: self._loaded.start()))
        self._letter = min(0.7 * ui.areaPicture.fontMetrics().height(), _MOST_LETTER_PX)
        self._picture = Picture(ui.areaPicture, int(_PICTURE_LETTERS * self._letter))
        ui.deviceBox.connect("currentIndexChanged(int)", self._on_device)
        fill_menu(ui.packagesButton, lambda: package_actions(ui.packagesButton, self._install))
        on_click(
            ui,
            applyButton=self._on_apply,
            noticeButton=lambda: self._install(self.dependencies.packages, again=self.dependencies.replaces),
            copyReportButton=lambda: copy_report(panel.control),
            measureButton=lambda: panel.measure(),
        )

    @property
    def volume(self) -> Any:
        """What Apply works on."""
        return self.choice.node

    def set_volume(self, volume: Any) -> None:
        """None: nothing, until a volume is chosen. The message stays: it may be new."""
        message = self.panel.message
        self.choice.set(volume)
        self.panel.show_message(message)

    def bind(self, parameters: Any) -> None:
        """Show what a parameter node says, and choose a volume where it has none yet."""
        self.models.select(parameters.modelPath)
        self.devices.select(parameters.device)
        self._choose_only(parameters)

    def _choose_only(self, parameters: Any) -> None:
        """One volume among several, or beside a case of a work list, may be another person's."""
        is_free = parameters is not None and parameters.inputVolume is None and not self.choice.is_lost
        if is_free and not self.panel.work_list.case:
            parameters.inputVolume = self.panel.logic.onlyVolume()

    def enter(self) -> None:
        """Models and packages may have changed meanwhile."""
        self.models.refresh()
        self.check_dependencies()

    def close(self) -> None:
        self.choice.is_lost = False

    def check_dependencies(self) -> None:
        """What is installed is known at once; whether it works, and on which devices, a child process reports later."""
        self.dependencies = check_dependencies(self.probe.answer)
        if self.dependencies.can_run and self.panel.entered():
            self.probe.ask()
        self.show_state()

    def why_not(self) -> str:
        """The reason why Apply cannot be pressed; "" when it can."""
        if not self.dependencies.can_run and not self.dependencies.can_install:
            return self.dependencies.message
        if self.models.card is None:
            return self.models.why_none
        if self.volume is None:
            return _("Choose a volume first.")
        try:
            volume_from_node(self.volume)
        except SpinalCordSegError as error:
            return str(error)
        return ""

    def changed(self) -> None:
        self.refresh()

    def refresh(self) -> None:
        ui, live, result = self.ui, self.current.live, self.current.result
        show_text(ui.editLabel, self.current.message)
        ui.measureButton.text = self.panel.named(_("Measure the mask of {name}"))
        ui.measureButton.setVisible(self.current.node is not None and (result is None or live.stale))
        grey(ui.measureButton, self.panel.why_no_measuring())
        ui.resultArea.setVisible(result is not None)
        ui.show3DButton.setSegmentationNode(self.current.node)
        if live.case is not None:
            self._show_numbers(live.case)
        self.show_state()

    def show_state(self) -> None:
        """Apply or Cancel, and how far a run is."""
        ui, control = self.ui, self.panel.control
        running = control.running
        reason = "" if running else self.why_not()
        named = "" if self.volume is None else short(label_of(slicer.mrmlScene, self.volume))
        apply, tip = (
            _("Apply to {name}").format(name=named) if named else _("Apply"),
            _("Find the cord and measure it."),
        )
        if self.dependencies.can_install:
            apply, tip = _("Install {size} and apply").format(size=SIZE), self.dependencies.message
        ui.applyButton.text = _("Cancel") if running else apply
        ui.applyButton.enabled = not control.cancelling and not reason
        ui.applyButton.toolTip = reason or (_("End the run.") if running else tip)
        for widget in (ui.volumeSelector, ui.modelBox, ui.modelButton, ui.deviceBox):
            widget.enabled = not running
        show_run(ui, control, self._status(reason))
        self.dependencies.show(ui)

    def _status(self, reason: str) -> str:
        control = self.panel.control
        if control.running:
            return _("Cancelling…") if control.cancelling else control.progress.text()
        if self.panel.message:
            return self.panel.message
        if control.failure is not None:
            return control.failure.message
        return reason if self.dependencies.can_run else ""  # else it is in the notice

    def _show_numbers(self, case: Case) -> None:
        ui = self.ui
        ui.volumeValue.setText(_number(case.volume_mm3, "mm³", 0))
        ui.lengthValue.setText(_number(case.length_mm, "mm", 1))
        ui.areaValue.setText(_number(case.mean_csa_mm2, "mm²", 1))
        flagged = {flag.slice for flag in case.flags if flag.slice is not None}
        ui.flagsValue.setText(_("{n} of {all}").format(n=len(flagged), all=case.n_slices))
        show_text(ui.caseFlagLabel, "\n".join(flag.message for flag in case.flags if flag.slice is None))
        from SpinalCordSegLib.report import area_plot, slice_at  # scipy: not when the panel opens

        def pick(x: int, width: int) -> None:
            found = slice_at(case.slices, x, width, self._letter)
            if found is not None:
                self.panel.levels.go_to_slice(found)

        def draw(width: int, height: int) -> bytes:
            return area_plot(case.slices, case.mean_csa_mm2, pixels=(width, height), letter=self._letter).png()

        self._picture.show(draw, pick)

    def _on_apply(self) -> None:
        if self.panel.control.running:
            self.panel.control.cancel()
            return
        volume, model, device = self.volume, self.models.path, self.devices.name
        if self.why_not() or model is None:
            return
        if self.dependencies.can_install:  # the button names what it downloads
            self._install(self.dependencies.packages, agreed=True)
            if not self.dependencies.can_run:
                return
        before, state = self.current.node, image_state(volume)
        self.panel.start(
            lambda: segment_job(volume, model, device),
            lambda case: self._on_segmented(case, volume, state, before),
        )

    def _on_segmented(self, case: Case, volume: Any, state: str, before: Any) -> None:
        """``state``, ``before``: of the image, and the mask, at Apply. Another mask, chosen meanwhile, stays."""
        if self.panel.is_gone(volume):
            return
        name = label_of(slicer.mrmlScene, volume)
        if state != image_state(volume):
            text = _("The image of {name} was changed meanwhile: the result was not kept. Apply again.")
            self.panel.show_message(text.format(name=name))
            return
        earlier = untouched_result(slicer.mrmlScene, volume) if self.ui.replaceLastBox.checked else None
        made = self.panel.attempt(lambda: add_result(slicer.mrmlScene, case, volume))
        if not made:
            return
        if self.current.node is before:
            self.current.set(made[0].segmentation)
        if earlier is not None and earlier is not self.current.node:
            remove_result(slicer.mrmlScene, earlier)
        device = str(case.device).replace("cpu", _("the CPU"))
        text = _("{name}: done in {seconds:.0f} s on {device}.")
        self.panel.show_message(text.format(name=name, seconds=case.seconds, device=device))

    def _on_model(self) -> None:
        if self.panel.parameters is not None:
            self.panel.parameters.modelPath = str(self.models.path or "")
        self.show_state()

    def _on_device(self, _index: int) -> None:
        if self.panel.parameters is not None:
            self.panel.parameters.device = self.devices.name

    def _on_probe(self) -> None:
        self.devices.show(self.probe.answer)
        if self.panel.parameters is not None:  # a graphics card chosen earlier was not in the list until now
            self.devices.select(self.panel.parameters.device)
        self.check_dependencies()

    def _install(self, packages: Sequence[str], **how: Any) -> None:
        """``how``: see ``install``."""
        message = install(packages, **how)
        self.probe.forget()
        self.check_dependencies()
        self.panel.show_message(message)


def _number(value: float, unit: str, decimals: int) -> str:
    return "–" if math.isnan(value) else f"<b>{value:.{decimals}f}</b> {unit}"
