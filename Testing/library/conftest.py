"""Synthetic DICOM for the tests: a small oblique stack with known positions, and a neck with a finished case."""

import io
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image as Picture
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib import report
from SpinalCordSegLib.case import ModelSummary, save_case
from SpinalCordSegLib.dicom import save_bare
from SpinalCordSegLib.image_io import read_image
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.review import Review
from SpinalCordSegLib.volume import Volume, fingerprint, lps_to_ras

MR_IMAGE, ENHANCED_MR_IMAGE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.4.1"
ROW_MM, COLUMN_MM, STEP_MM = 0.75, 0.5, 3.0
_ANGLE = np.radians(20)
ROW_DIRECTION = np.array([1.0, 0.0, 0.0])
COLUMN_DIRECTION = np.array([0.0, np.cos(_ANGLE), np.sin(_ANGLE)])
NORMAL = np.cross(ROW_DIRECTION, COLUMN_DIRECTION)
ORIGIN = np.array([-10.0, 5.0, 100.0])


class SyntheticSeries:
    """Slices of 4 rows × 5 columns, 3 mm apart, tilted by 20° about R; slice k holds k·100 + row·10 + column."""

    def __init__(self) -> None:
        self.uid = generate_uid()

    def slice(self, k: int, **changes: Any) -> Dataset:
        """The data set of slice k; ``changes`` replace elements, None removes one."""
        one = Dataset()
        one.SOPClassUID, one.SOPInstanceUID = MR_IMAGE, generate_uid()
        one.Modality, one.SeriesInstanceUID, one.SeriesNumber = "MR", self.uid, 7
        one.SeriesDescription, one.InstanceNumber = "T1w neck", 100 - k  # numbered from the other end
        one.PatientName, one.PatientID = "Pérez^José", "00123456"
        one.ImageOrientationPatient = [*ROW_DIRECTION, *COLUMN_DIRECTION]
        one.ImagePositionPatient = (ORIGIN + k * STEP_MM * NORMAL).round(6).tolist()
        one.PixelSpacing, one.SliceThickness = [ROW_MM, COLUMN_MM], STEP_MM
        fill_pixels(one, pixels(k))
        for keyword, value in changes.items():
            if value is None:
                del one[keyword]
            else:
                setattr(one, keyword, value)
        return one

    def write(self, folder: Path, n: int = 4, change: Callable[[int], dict[str, Any]] | None = None) -> Path:
        """Slices 0 to n-1, named so that neither name nor number gives the order of positions."""
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(n):
            save(self.slice(k, **(change(k) if change else {})), folder / f"IM{(k * 7) % 10}{k}")
        return folder

    def enhanced(self, n: int = 4, order: tuple[int, ...] = (2, 0, 3, 1)) -> Dataset:
        """One multi-frame data set, its frames stored in ``order``; frame of slice k rescaled by 2 and -k."""
        one = self.slice(0, ImagePositionPatient=None, ImageOrientationPatient=None, PixelSpacing=None)
        one.SOPClassUID, one.NumberOfFrames = ENHANCED_MR_IMAGE, n
        fill_pixels(one, np.stack([pixels(k) for k in order]))
        shared = Dataset()
        shared.PlaneOrientationSequence = item(ImageOrientationPatient=[*ROW_DIRECTION, *COLUMN_DIRECTION])
        shared.PixelMeasuresSequence = item(PixelSpacing=[ROW_MM, COLUMN_MM], SliceThickness=STEP_MM)
        shared.MRTimingAndRelatedParametersSequence = item(RepetitionTime=8.2, FlipAngle=12)
        shared.MREchoSequence = item(EffectiveEchoTime=2.7)
        one.SharedFunctionalGroupsSequence = Sequence([shared])
        frames = []
        for k in order:
            frame = Dataset()
            frame.PlanePositionSequence = item(ImagePositionPatient=(ORIGIN + k * STEP_MM * NORMAL).round(6).tolist())
            frame.PixelValueTransformationSequence = item(RescaleSlope=2, RescaleIntercept=-k)
            frames.append(frame)
        one.PerFrameFunctionalGroupsSequence = Sequence(frames)
        return one


def pixels(k: int) -> np.ndarray:
    rows, columns = np.mgrid[0:4, 0:5]
    return (k * 100 + rows * 10 + columns).astype(np.int16)


def fill_pixels(dataset: Dataset, values: np.ndarray) -> None:
    dataset.Rows, dataset.Columns = values.shape[-2:]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = values.itemsize * 8
    dataset.HighBit, dataset.PixelRepresentation = values.itemsize * 8 - 1, 1
    dataset.PixelData = values.tobytes()
    dataset["PixelData"].VR = "OW"


def item(**elements: Any) -> Sequence:
    one = Dataset()
    for keyword, value in elements.items():
        setattr(one, keyword, value)
    return Sequence([one])


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    save_bare(dataset, syntax, path)
    return path


class SyntheticNeck:
    """A series with a cord, to which DICOM objects can refer, and finished cases on it.

    8 slices of 40 × 48 pixels; the cord is an ellipse of 12 × 8 mm in slices 1 to 6, in each one pixel further left.
    """

    n, rows, columns = 8, 40, 48
    model = ModelSummary("tiny", "3", "ab" * 32, "CC0-1.0")
    has_pictures = True  # of finished cases

    def __init__(self) -> None:
        self.series = SyntheticSeries()
        self.study, self.place = generate_uid(), generate_uid()
        self.stack = np.stack([self._cord(k) for k in range(self.n)])

    def _cord(self, k: int) -> np.ndarray:
        rows, columns = np.mgrid[0 : self.rows, 0 : self.columns]
        inside = ((rows - 19.5) * ROW_MM / 4) ** 2 + ((columns - 20 - k) * COLUMN_MM / 6) ** 2 < 1
        return inside & (1 <= k <= 6)

    def matrix(self) -> np.ndarray:
        """ijk→RAS of the series as it is read: columns, rows, slices."""
        lps = np.eye(4)
        lps[:3, :3] = np.stack([ROW_DIRECTION * COLUMN_MM, COLUMN_DIRECTION * ROW_MM, NORMAL * STEP_MM], axis=1)
        lps[:3, 3] = ORIGIN
        return lps_to_ras(lps)

    def elements(self, k: int) -> dict[str, Any]:
        """What makes the small synthetic slice k one of this neck."""
        noise = np.random.default_rng(k).integers(0, 50, (self.rows, self.columns))
        grey = (noise + 200 * self.stack[k]).astype(np.int16)
        return {
            "Rows": self.rows, "Columns": self.columns, "PixelData": grey.tobytes(),
            "StudyInstanceUID": self.study, "FrameOfReferenceUID": self.place, "StudyDate": "20240131",
            "PatientBirthDate": "19660101", "PatientSex": "F", "AccessionNumber": "ACC77", "PatientAge": "058Y",
        }  # fmt: skip

    def write(self, folder: Path, change: Callable[[int], dict[str, Any]] | None = None) -> Path:
        """The series; ``change`` replaces elements of slice k, None removes one."""
        for k in range(self.n):
            elements = self.elements(k) | (change(k) if change else {})
            one = self.series.slice(k, **{name: value for name, value in elements.items() if value is not None})
            for keyword in elements:
                if elements[keyword] is None and keyword in one:
                    del one[keyword]
            save(one, folder / f"IM{(k * 7) % 10}{k}")
        return folder

    def finish(
        self,
        series: Path,
        folder: Path,
        state: str = "AI",
        mask_axes: Callable[[Volume], Volume] = lambda mask: mask,
        mask_format: str = "nii.gz",
        **options: Any,
    ) -> Path:
        """A finished case on the series, as segment writes it; its mask is the ellipse. ``mask_axes``: how the axes of
        ``series`` (an image file then) differ from the series' own."""
        image = read_image(series)
        like = Volume.from_ijk(self.stack.transpose(2, 1, 0), self.matrix())
        mask = image.volume.with_ijk(np.ascontiguousarray(mask_axes(like).ijk))
        result = measure_mask(mask, "neck", image=image, **options)
        model = None if state == "given" else self.model
        of_image = fingerprint(image.volume)
        marks = (fingerprint(mask), of_image) if state == "given" else (of_image, "")
        source = replace(result.input, fingerprint=marks[0], image_fingerprint=marks[1])
        result = replace(result, mask_state=state, model=model, input=source, device="cpu")
        if state != "given":
            result = replace(result, threshold=0.5, smooth_z_mm=1.6, review=Review())
        save_case(result, folder, mask_format=mask_format, has_pictures=self.has_pictures)
        return folder


@pytest.fixture
def pictures() -> None:
    """Asked for by tests that need real pictures."""


def _pixel_png() -> bytes:
    file = io.BytesIO()
    Picture.new("RGB", (1, 1)).save(file, "png")
    return file.getvalue()


_PIXEL = _pixel_png()


@pytest.fixture(autouse=True)
def _quick_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures take most of the time in which a case is saved."""
    if "pictures" not in request.fixturenames:
        for name in ("montage_png", "drawn_png"):
            monkeypatch.setattr(report, name, lambda *_: _PIXEL)
        monkeypatch.setattr(report, "area_plot", lambda *_, **__: SimpleNamespace(png=lambda: _PIXEL))


@pytest.fixture
def work_until_killed() -> Callable[[Callable[[], object], float], None]:
    """Does something again and again in another process, which kill -9 ends after some seconds."""
    if not hasattr(os, "fork"):
        pytest.skip("needs kill -9 and processes that begin at once")

    def run(work: Callable[[], object], seconds: float) -> None:
        program = os.fork()
        if program == 0:
            try:
                while True:
                    work()
            finally:
                os._exit(1)
        time.sleep(seconds)
        os.kill(program, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(program, 0)[1]) == signal.SIGKILL, "ended by itself before"

    return run


@pytest.fixture
def neck() -> SyntheticNeck:
    return SyntheticNeck()


@pytest.fixture
def dicom() -> SyntheticSeries:
    return SyntheticSeries()


@pytest.fixture
def save_dicom() -> Callable[..., Path]:
    return save
