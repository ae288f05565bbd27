"""One sentence for a report, with numbers, units and limits. No Qt."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from slicer.i18n import tr as _


def report_sentence(report: Mapping[str, Any], edited: bool = False) -> str:
    """``report``: the content of report.json. ``edited``: the mask was changed since these measures were taken."""
    if not report.get("n_slices"):
        found = _("No spinal cord was found")
    else:
        found = _("Spinal cord volume {volume}, over a length of {length} ({n} slices), mean area {area}").format(
            volume=_quantity(report.get("volume_mm3"), "mm³", 0),
            length=_quantity(report.get("length_mm"), "mm", 1),
            n=report["n_slices"],
            area=_area(report),
        )
    flagged = len({flag.get("slice") for flag in report.get("flags") or () if flag.get("slice") is not None})
    review = _("1 slice flagged for review") if flagged == 1 else _("{n} slices flagged for review").format(n=flagged)
    parts = [found, review, _maker(report)]
    if edited:
        parts.append(_("the mask was corrected by hand after these numbers were taken"))
    limits = _("volume depends on the coverage of the image")
    return "; ".join([*parts, limits]) + ". " + _("Research use, not for diagnosis.")


def _area(report: Mapping[str, Any]) -> str:
    spread = report.get("sd_csa_mm2")
    mean = _quantity(report.get("mean_csa_mm2"), "mm²", 1)
    return mean if spread is None or report.get("mean_csa_mm2") is None else mean.replace(" ", f" ± {spread:.1f} ", 1)


def _maker(report: Mapping[str, Any]) -> str:
    version = report.get("software_version") or ""
    model = report.get("model")
    if not model:
        return _("mask drawn or made elsewhere, measured with SpinalCordSeg {version}").format(version=version)
    words = _("found automatically by SpinalCordSeg {version} with model {model} {model_version}")
    return words.format(version=version, model=model.get("name"), model_version=model.get("version"))


def _quantity(value: float | None, unit: str, decimals: int) -> str:
    return _("not reported") if value is None else f"{value:.{decimals}f} {unit}"
