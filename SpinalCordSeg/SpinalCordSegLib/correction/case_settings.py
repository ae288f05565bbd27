"""What a finished case was segmented with, by its report: a second look at it must not use something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from SpinalCordSegLib.errors import ConfigurationError, ModelFileError
from SpinalCordSegLib.inference.along_cord import SIGMA_MM
from SpinalCordSegLib.network.card import verified_card
from SpinalCordSegLib.network.models import default_model, find_models


@dataclass(frozen=True)
class CaseSettings:
    """``threshold``: probability. ``along_mm``: SD of the averaging along the cord, 0 without.

    ``model``: name and version, ``model_sha256``: of its file; both "" where no model drew the mask.
    """

    threshold: float = 0.5
    along_mm: float = SIGMA_MM
    model: str = ""
    model_sha256: str = ""

    @classmethod
    def of_report(cls, content: Mapping[str, Any]) -> CaseSettings:
        """Of a report.json; the defaults where no model drew the mask, or ``content`` is empty.

        A report from before there was averaging states no ``along_mm``: then 0.
        """
        model = content.get("model")
        if not model:
            return cls()
        threshold, along_mm = content.get("threshold"), content.get("along_mm")
        return cls(
            threshold=cls.threshold if threshold is None else float(threshold),
            along_mm=0.0 if along_mm is None else float(along_mm),
            model=f"{model.get('name')} {model.get('version')}",
            model_sha256=str(model.get("sha256") or ""),
        )

    def find_model(self) -> Path:
        """The weights file of the case's own model among those that are installed; the default one where no model drew
        the mask. Raises ModelFileError (there is none at all), ConfigurationError (the case's own is not here)."""
        if not self.model_sha256:
            return default_model()
        for path in find_models():
            if _sha256(path) == self.model_sha256:
                return path
        raise ConfigurationError(
            f"the case was segmented by {self.model} (SHA-256 {self.model_sha256[:12]}…), which is not among the models"
            " here: name its weights file by --model, or the one to ask in its place"
        )


def _sha256(path: Path) -> str | None:
    """None for a file that is no model any more: it is not the one that is looked for."""
    try:
        return verified_card(path).sha256
    except ModelFileError:
        return None
