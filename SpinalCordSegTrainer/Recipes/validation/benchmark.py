"""What a model is validated on: the public volumes, which of their slices count, and the bars it is held against.

Nothing of it may choose a threshold or a weight. Sets of role "training" show how well the model fits what it has
seen; they have no bar.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Literal

from SpinalCordSegLib.errors import InputFileError, TrainingDataError
from SpinalCordSegTrainerLib.dataset import Case, find_cases

Role = Literal["judging", "training"]
C2_C3 = "C2/C3"
FORAMEN_MAGNUM = "foramen magnum"
C1 = "C1"
LAST_CLEAR_SLICE = "last clear slice"


@dataclass(frozen=True)
class MaskedSet:
    """Volumes with a label map. ``pairs``: (image, label) within ``folder``; none: every pair that is found there.

    ``slice_range``: canonical slices to judge, half-open. ``only_labelled``: slices without label show cord that nobody
    drew. Bars: least Dice, largest HD95, largest mean signed area error in size; None where none is set.
    """

    name: str
    folder: str
    role: Role
    pairs: tuple[tuple[str, str], ...] = ()
    slice_range: tuple[int, int] | None = None
    only_labelled: bool = False
    least_dice: float | None = None
    most_hd95_mm: float | None = None
    most_bias_percent: float | None = None

    def cases(self, data: Path) -> list[Case]:
        """The cases of the set below ``data``. Raises TrainingDataError when a file or the folder is missing."""
        folder = data / self.folder
        if not self.pairs:
            return find_cases(folder)
        found = []
        for image, label in self.pairs:
            missing = next((name for name in (image, label) if not (folder / name).is_file()), None)
            if missing is not None:
                raise TrainingDataError(f"{folder / missing}: is missing; give the folder of public data")
            found.append(Case(image.split(".")[0], self.name, folder / image, folder / label))
        return found


_MT_LABEL = "sub-05_acq-MTon_MTS_seg.nii.gz"
MASKED_SETS = (
    MaskedSet("t1w_masked", "t1w_masked", "judging", least_dice=0.94, most_hd95_mm=1.5, most_bias_percent=3.0),
    MaskedSet("mt_on", "mt_masked", "judging", (("sub-05_acq-MTon_MTS.nii.gz", _MT_LABEL),), (1, 20), least_dice=0.93),
    MaskedSet(
        "mt_off", "mt_masked", "judging", (("sub-05_acq-MToff_MTS.nii.gz", _MT_LABEL),), (1, 20), least_dice=0.88
    ),
    MaskedSet("t2_masked", "t2_masked", "training", only_labelled=True),
    MaskedSet("t2star_masked", "t2star_masked", "training", only_labelled=True),
)
MOST_OUTSIDE_MM = 3.0

SCANNERS = "t1w_scanners"
SCANNER_LENGTH_MM = 30.0
MOST_COV_PERCENT = 1.8
# Cord that must be found on every scanner: from 20 mm above C2/C3, inside the axis, to the lower edge of C7.
C2_ABOVE_MM, C7_BELOW_MM = 20.0, 85.0

HEAD = "dicom_t1w_head"

COHORT_LEAST_DICE = 0.96
COHORT_SLOPE = (0.97, 1.03)
PAIRS_MOST_MEAN_POINTS, PAIRS_MOST_SD_POINTS = 0.5, 1.0
BAD_DICE, GOOD_DICE = 0.8, 0.9
LEAST_BAD_FLAGGED, MOST_GOOD_FLAGGED = 0.90, 0.05


def landmarks_path() -> Path:
    """The table beside this file."""
    return Path(__file__).resolve().with_name("landmarks.csv")


def read_landmarks(path: Path | None = None) -> dict[tuple[str, str], float]:
    """(volume, landmark) → canonical slice, counted from inferior from 0, with its fraction.

    Raises InputFileError when the table cannot be read or a number is none.
    """
    path = path or landmarks_path()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        found = {(row["volume"], row["landmark"]): float(row["slice"]) for row in rows}
    except OSError as error:
        raise InputFileError(f"{path}: cannot be read ({error.strerror})") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InputFileError(f"{path}: expected the columns volume, landmark, slice (a number), how") from error
    if not all(isfinite(value) for value in found.values()):
        raise InputFileError(f"{path}: a slice is no number")
    return found
