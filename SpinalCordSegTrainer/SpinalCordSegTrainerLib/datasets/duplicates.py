"""The same image under two names would be trained on and validated with: found by its voxels."""

from __future__ import annotations

import hashlib

import numpy as np

from SpinalCordSegLib.errors import TrainingDataError
from SpinalCordSegLib.images.volume import to_canonical
from SpinalCordSegTrainerLib.datasets.case import Case
from SpinalCordSegTrainerLib.datasets.cases import LoadedCase


class Duplicates:
    """Remembers the images shown to it, by a digest of their voxels in canonical order: a copy stored in another
    order or format is found, one that was resampled or rescaled is not."""

    def __init__(self) -> None:
        self._seen: dict[bytes, Case] = {}

    def twin(self, loaded: LoadedCase) -> Case | None:
        """The first case with the same voxels; None, and remembered, when it is new."""
        voxels = np.ascontiguousarray(to_canonical(loaded.image).voxels)
        digest = hashlib.sha256(f"{voxels.shape}".encode() + voxels.tobytes()).digest()
        first = self._seen.setdefault(digest, loaded.case)
        return None if first is loaded.case else first

    def refuse_twin(self, loaded: LoadedCase) -> None:
        """Raise TrainingDataError when another patient's case holds the same voxels."""
        twin = self.twin(loaded)
        if twin is not None and twin.subject != loaded.case.subject:
            raise TrainingDataError(f"case {loaded.case.name}: {self.reason(twin)}")

    @staticmethod
    def reason(twin: Case) -> str:
        return f"the same voxels as {twin.name}, as another patient; remove one, or give both the same patient"
