"""A safety net for large changes of the code: run every command line on fixed inputs and keep what comes out.

    python tools/safety_net.py record --output REFERENCE          before the change
    python tools/safety_net.py check REFERENCE                    after it: record anew, compare, exit code 1 if changed
    python tools/safety_net.py compare REFERENCE OTHER            two records that are there

``--quick`` leaves out the real volumes and other slow steps, ``--only 'segment_*,review'`` runs the steps named (and
what they need). The public data lies in $SPINALCORDSEG_DATA or ../shared/data; without it the steps on real volumes are
recorded as left out. Inputs are drawn by this file, from numpy alone, so that they stay the same whatever happens to
the packages. Each step leaves one JSON file. Compare records of one machine only, made with the same libraries:
floating-point arithmetic differs between processors.

What differs on purpose since a record stands beside it, in REFERENCE/wanted.txt: a line a pattern (as of a shell) of
"step/file/key", a blank, and the reason. It is listed and does not fail. Once there are many, record anew.
"""

from __future__ import annotations

import argparse
import csv
import difflib
import hashlib
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from fnmatch import fnmatch
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

HOME = Path(__file__).resolve().parents[1]

# How the programs are run, below the root that is tested.
SOURCES = ("SpinalCordSeg", "SpinalCordSegTrainer")
MODEL = "SpinalCordSeg/Resources/Models/cervical_t1w.safetensors"
COMMANDS = {
    "SpinalCordSegLib": (
        "segment", "measure", "correct", "review", "follow-up", "propagate", "export", "training-set", "models", "demo",
    ),
    "SpinalCordSegTrainerLib": ("check", "train", "find-lr", "evaluate", "raters"),
    "Recipes": ("cache", "simulate", "average", "calibrate", "validate", "validate-series", "table1"),
}  # fmt: skip
# The trainer's settings of one small, deterministic run.
SETTINGS = (
    "network.width=2", "batch_size=4", "updates_per_epoch=3", "epochs=2", "crop.size=32", "normalisation.size=64",
    "statistics_batches=1", "precision=float32", "deterministic=true",
)  # fmt: skip

# Keys and columns that differ from run to run or from machine to machine, with the reason why they are not kept.
DROPPED = {
    "created": "time of the run", "started": "time of the run", "when": "time of the run", "time": "time of the run",
    "date_trained": "time of the run", "trained_on": "time of the run",
    "seconds*": "duration", "*_seconds": "duration", "minutes": "duration", "*_per_second": "duration",
    "software_version": "version", "packages": "versions", "python": "version", "git": "state of the checkout",
    "digest": "of metadata that holds a duration",
    "identity": "hashes are salted anew for every user",
    "system": "machine", "threads": "machine", "mtime_ns": "time of the run",
}  # fmt: skip
BLANKED = {
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(\+\d\d:\d\d|Z| UTC)?": "<time>",
    r"\b20(2[6-9]|[3-9]\d)-\d\d-\d\d\b": "<day>",  # the day of the run; those of the inputs are all earlier
    r"\b\d+(\.\d+)? (s|seconds|min|minutes)\b": "<duration>",
    r"\b(onnxruntime|ONNX Runtime|torch|SpinalCordSeg) \d+\.\d+[\w.+]*": r"\1 <version>",
    r'"(minutes|seconds)": \d[\d.e-]*': r'"\1": <duration>',
    r"\.[0-9a-f]{12}\.part": ".<part>",
    r"\d{8}T\d{6}Z": "<time>",  # of a version of a mask
}
COMMIT = "commit.txt"
IMAGES, TABLES = (".nii.gz", ".nrrd", ".mha", ".nii"), (".csv", ".tsv")
TEXT_KEYS = ("stdout", "stderr", "words", "picture")


# ---------------------------------------------------------------------------------------------- inputs, drawn here
_TISSUES = (  # signal, x (left), y (anterior), half width, half height in mm, turn in degrees, mirrored
    (1.0, 0, 0, 58, 52, 0, 0), (0.42, 0, 36, 17, 8, 0, 0), (0.42, 21, -42, 22, 5, 24, 1), (0.42, 14, -34, 12, 7, 16, 1),
    (0.42, 11, -24, 9, 11, 10, 1), (0.42, 30, -18, 11, 16, -18, 1), (0.42, 28, 3, 8, 9, -20, 1),
    (0.42, 43, 12, 6, 20, 22, 1), (0.01, 0, 42, 8, 7, 0, 0), (0.85, 23, 29, 3, 3, 0, 1), (0.3, 31, 26, 5, 4, 20, 1),
    (0.1, 16, 3.5, 8, 7.5, 0, 1), (0.66, 16, 3.5, 6.6, 6, 0, 1), (0.1, 0, -9, 15, 6.5, 0, 0),
    (0.66, 9, -10.5, 6, 2, -28, 1), (0.1, 0, -22, 4, 10, 0, 0), (0.66, 0, -22, 2.6, 8, 0, 0),
    (0.1, 0, 17, 14, 9.5, 0, 0), (0.9, 0, -7.2, 5, 3, 0, 0), (0.16, 0, 0.5, 12, 8.4, 0, 0),
)  # fmt: skip


def axes(shape: tuple[int, int, int], spacing: tuple[float, float, float]) -> list[np.ndarray]:
    """Coordinates z, y, x in mm from the middle; ``shape`` is slices, rows, columns, ``spacing`` x, y, z."""
    lines = [(np.arange(n) - (n - 1) / 2) * mm for n, mm in zip(shape, spacing[::-1], strict=True)]
    return list(np.meshgrid(*lines, indexing="ij", sparse=True))


def neck(shape=(28, 128, 128), spacing=(0.9, 0.9, 3.0), area=75.0, lean=0.0, seed=1, up=0.0, inverted=False):
    """A simulated T1w neck: image and mask as arrays. ``area``: of the cord, mm². ``up``: the person's shift."""
    z, y, x = axes(shape, spacing)
    z = z - up
    u, v, random = x - lean * z, 3 * np.cos(z / 40) - 3 - y, np.random.default_rng(seed)

    def part(cx, cy, rx, ry, turn=0.0):
        c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
        across, along = c * (u - cx) + s * (v - cy), c * (v - cy) - s * (u - cx)
        radius = np.hypot(across / rx, along / ry) + 1e-9
        slope = np.hypot(across / rx**2, along / ry**2) / radius + 1e-9
        return np.clip((1 - radius) / slope / max(spacing[:2]) + 0.5, 0, 1)

    image = np.full(shape, 0.01)
    for signal, cx, cy, rx, ry, turn, mirrored in _TISSUES:
        for side in (1, -1)[: 1 + mirrored]:
            image += (signal - image) * part(side * cx, cy, rx, ry, side * turn)
    image += (np.where(z % 17 < 5, 0.34, 0.66) - image) * part(0, 17, 12.6, 8.2)
    half = np.sqrt(area / 1.5 / np.pi)
    cord = part(0, 0, 1.5 * half, half)
    image += (0.6 - image) * cord
    image = (1.05 - image if inverted else image) * 800 * (1 - 0.2 * y / 60)
    noise = 16 * random.standard_normal((2, *shape))
    return np.hypot(image + noise[0], noise[1]).astype(np.float32), (cord >= 0.5).astype(np.uint8)


def placed(array, spacing, order="LPS", turn=(0.0, 0.0, 0.0)) -> sitk.Image:
    """``array`` (towards S, P, L) in the patient: turned about x, y, z by degrees, then stored in another order."""
    a, b, c = np.radians(turn)
    about_x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    about_y = np.array([[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]])
    about_z = np.array([[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]])
    image, matrix = sitk.GetImageFromArray(array), about_z @ about_y @ about_x
    image.SetSpacing(spacing)
    image.SetDirection(matrix.ravel().tolist())
    middle = (np.array(image.GetSize()) - 1) / 2 * np.array(spacing)
    image.SetOrigin((np.array([2.0, 10.0, -15.0]) - matrix @ middle).tolist())
    return image if order == "LPS" else sitk.DICOMOrient(image, order)


def write(image: sitk.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path), True)
    return path


def write_neck(path: Path, order="LPS", turn=(0.0, 0.0, 0.0), **options: Any) -> tuple[Path, Path]:
    """``path`` and the mask beside it (NAME_seg.nii.gz)."""
    spacing = options.get("spacing", (0.9, 0.9, 3.0))
    image, mask = (placed(one, spacing, order, turn) for one in neck(**options))
    return write(image, path), write(mask, path.with_name(path.name.replace(".nii.gz", "_seg.nii.gz")))


def edited(mask: Path, target: Path) -> Path:
    """``mask`` as a person might have corrected it: wider in a few slices, one cut off, one empty."""
    image = sitk.ReadImage(str(mask), sitk.sitkUInt8)
    voxels = sitk.GetArrayFromImage(image)
    voxels[5:9] |= np.roll(voxels[5:9], 1, axis=2)
    voxels[12, :, : voxels.shape[2] // 2] = 0
    voxels[-2] = 0
    changed = sitk.GetImageFromArray(voxels)
    changed.CopyInformation(image)
    return write(changed, target)


def write_dicom(folder: Path) -> Path:
    """A DICOM series of a neck, one file a slice, of a person who does not exist."""
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset

    spacing, root = (0.9, 0.9, 4.0), "1.2.826.0.1.3680043.10.1"
    image = placed(neck((20, 112, 112), spacing, 70.0, seed=9)[0], spacing)
    voxels = sitk.GetArrayFromImage(image).round().astype(np.int16)
    folder.mkdir(parents=True)
    for k, pixels in enumerate(voxels):
        one, meta = Dataset(), FileMetaDataset()
        one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", f"{root}.{k + 10}"
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = (f"{root}.{n}" for n in (1, 2, 3))
        one.Modality, one.SeriesNumber, one.SeriesDescription, one.InstanceNumber = "MR", 4, "T1w neck", k + 1
        one.Manufacturer, one.ManufacturerModelName, one.MagneticFieldStrength = "Anyone", "One", 3.0
        one.PatientName, one.PatientID, one.PatientBirthDate, one.PatientSex = "Nobody^At All", "0000", "19660101", "O"
        one.StudyDate, one.StudyTime, one.StudyID, one.AccessionNumber = "20240131", "101112", "1", "A1"
        one.AcquisitionDate, one.SeriesDate, one.ReferringPhysicianName = "20240131", "20240131", ""
        one.ScanningSequence, one.SequenceVariant, one.MRAcquisitionType = "GR", "SP", "3D"
        one.RepetitionTime, one.EchoTime, one.FlipAngle = 20.0, 4.0, 25.0
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = [round(mm, 6) for mm in image.TransformIndexToPhysicalPoint((0, 0, k))]
        one.PixelSpacing, one.SliceThickness, one.SpacingBetweenSlices = [0.9, 0.9], 4.0, 4.0
        one.Rows, one.Columns, one.SamplesPerPixel = *pixels.shape, 1
        one.PhotometricInterpretation, one.BitsAllocated, one.BitsStored = "MONOCHROME2", 16, 16
        one.HighBit, one.PixelRepresentation, one.PixelData = 15, 1, pixels.tobytes()
        one["PixelData"].VR = "OW"
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = one.SOPClassUID, one.SOPInstanceUID
        one.file_meta = meta
        pydicom.dcmwrite(folder / f"IM{k:03d}.dcm", one, enforce_file_format=True)
    return folder


# --------------------------------------------------------------------------------- reading what the programs wrote
def sha(data: Any) -> str:
    return hashlib.sha256(data).hexdigest()


def read_image(path: Path) -> dict[str, Any]:
    image = sitk.ReadImage(str(path))
    voxels = np.ascontiguousarray(sitk.GetArrayFromImage(image))
    kept: dict[str, Any] = {
        "size": image.GetSize(), "type": str(voxels.dtype), "sha256": sha(voxels.tobytes()),
        "sum": round(float(voxels.sum(dtype=np.float64)), 6), "max": float(voxels.max()),
        "sum_by_slice": voxels.reshape(len(voxels), -1).sum(axis=1, dtype=np.float64).round(6).tolist(),
    }  # fmt: skip
    for name in ("Spacing", "Origin", "Direction"):
        kept[name.lower()] = [round(value, 5) + 0.0 for value in getattr(image, f"Get{name}")()]
    return kept


def read_table(path: Path) -> dict[str, Any]:
    rows = list(csv.reader(path.read_text(encoding="utf-8-sig").splitlines(), delimiter=",\t"[path.suffix == ".tsv"]))
    return {
        name: [row[n] if n < len(row) else None for row in rows[1:]] for n, name in enumerate(rows[0] if rows else [])
    }


def read_tensors(path: Path) -> dict[str, Any]:
    """A safetensors file: its metadata, and type, shape and SHA-256 of each tensor."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    told = {name: _json_or_text(value) for name, value in header.pop("__metadata__", {}).items()}
    cut = {name: slice(*one["data_offsets"]) for name, one in header.items()}
    return {
        "metadata": told,
        "tensors": {name: f"{one['dtype']} {one['shape']} {sha(body[cut[name]])}" for name, one in header.items()},
    }


def _json_or_text(value: str) -> Any:
    try:
        return json.loads(value)
    except ValueError:
        return value


class _Words(HTMLParser):
    """The words of a page that a person reads."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self._hidden += tag in ("style", "script")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("style", "script")

    def handle_data(self, data: str) -> None:
        if not self._hidden and data.strip():
            self.words.append(" ".join(data.split()))


def read_page(path: Path) -> dict[str, Any]:
    parser = _Words()
    parser.feed(path.read_text(encoding="utf-8"))
    return {"words": parser.words}


def read_dicom(path: Path) -> dict[str, Any]:
    """Every tag of a DICOM object but dates, times and versions. UIDs made for it are numbered as they appear."""
    import pydicom

    numbers: dict[str, str] = {}

    def told(dataset: Any) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for element in dataset:
            name, value = element.keyword or str(element.tag), element.value
            if (
                element.VR in ("DA", "TM", "DT")
                or name in ("FileMetaInformationGroupLength", "EncapsulatedDocumentLength")
                or name.endswith(("Versions", "VersionName", "CreatorVersionUID"))
            ):
                continue
            if element.VR == "SQ":
                kept[name] = [told(item) for item in value]
            elif name == "EncapsulatedDocument":
                kept[name] = {"pages": len(re.findall(rb"/Type\s*/Page\b", value))}
            elif isinstance(value, bytes):
                kept[name] = sha(value)
            elif element.VR == "UI" and value:
                uids = [value] if isinstance(value, str) else value
                kept[name] = [
                    uid if uid.startswith("1.2.840.10008") else numbers.setdefault(uid, f"uid{len(numbers) + 1}")
                    for uid in map(str, uids)
                ]
            else:
                kept[name] = [str(one) for one in value] if element.VM > 1 else str(value)
        return kept

    dataset = pydicom.dcmread(path)
    return {"meta": told(dataset.file_meta), **told(dataset)}


def read_file(path: Path) -> Any:
    """What is kept of one file, by its kind. What cannot be read is kept by its size."""
    name = path.name.lower()
    if name.endswith(IMAGES):
        return read_image(path)
    if name.endswith(TABLES):
        return read_table(path)
    if name.endswith((".json", ".geojson")):
        return json.loads(path.read_text(encoding="utf-8"))
    if name.endswith(".safetensors"):
        return read_tensors(path)
    if name.endswith(".html"):
        return read_page(path)
    if name.endswith(".dcm"):
        return read_dicom(path)
    if name.endswith(".png"):
        image = sitk.ReadImage(str(path))
        return {"size": image.GetSize(), "picture": sha(np.ascontiguousarray(sitk.GetArrayFromImage(image)).tobytes())}
    if name.endswith((".txt", ".md", ".svg")):
        return {"words": path.read_text(encoding="utf-8").splitlines()}
    return {"sha256": sha(path.read_bytes())}


# ---------------------------------------------------------------------------------------------------------- running
class Net:
    """Runs steps below a work folder, each once, and writes their records."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.python, self.root, self.data = options.python, options.root.resolve(), options.data.resolve()
        self.records = options.output.resolve()
        self.work = self.records / "work"
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir(parents=True)
        self.done: set[str] = set()
        self.trained: set[str] = set()  # SHA-256 of the weights files made here, which hold a duration each
        self._locks = {name: threading.Lock() for name in STEPS}
        self.environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(str(self.root / name) for name in SOURCES),
            "OMP_NUM_THREADS": "1", "COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb", "TZ": "UTC",
            "PYTHONDONTWRITEBYTECODE": "1", "XDG_DATA_HOME": str(self.work / "home"),
        }  # fmt: skip

    def step(self, name: str) -> Path:
        """The folder of a step, which is run now unless it was."""
        with self._locks[name]:
            if name not in self.done:
                self._run(name)
                self.done.add(name)
        return self.work / name

    def _run(self, name: str) -> None:
        function, step, began = STEPS[name], Step(self, self.work / name), time.monotonic()
        content: dict[str, Any] = {"step": name}
        try:
            if not function.needs_data or self.data.is_dir():
                function(step, step.here)
            else:
                content["left_out"] = "the public data is not here"
        except Exception as error:  # noqa: BLE001  a step that fails must not stop the others
            content["failed"] = self.blank(f"{type(error).__name__}: {error}")
        content |= {"commands": step.commands, "files": self._harvest(step.here)}
        self.trained |= {sha(path.read_bytes()) for path in step.here.rglob("*.safetensors")}
        text = json.dumps(content, indent=1)
        for known in tuple(self.trained):
            text = re.sub(rf"\b{known[:12]}[0-9a-f]*", "<weights>", text)
        (self.records / f"{name}.json").write_text(text, encoding="utf-8")
        codes = " ".join(str(one["exit"]) for one in step.commands)
        failed = content.get("failed", content.get("left_out", ""))
        say(f"{name:24} {time.monotonic() - began:6.1f} s  exit {codes} {failed}")

    def blank(self, text: str) -> str:
        """``text`` without what differs from run to run: places, times, versions."""
        for place, word in ((self.work, "<work>"), (self.data, "<data>"), (self.root, "<root>")):
            text = text.replace(str(place), word)
        for pattern, word in BLANKED.items():
            text = re.sub(pattern, word, text)
        return text

    def _harvest(self, folder: Path) -> dict[str, Any]:
        files = {}
        for path in sorted(folder.rglob("*")):
            inside = path.relative_to(folder)
            if path.is_file() and inside.parts[0] != "in":  # "in": what the step drew for itself
                try:
                    files[self.blank(str(inside))] = self._clean(read_file(path))
                except Exception as error:  # noqa: BLE001  kept, so that a difference is seen
                    files[str(inside)] = {"unreadable": type(error).__name__}
        return files

    def _clean(self, value: Any) -> Any:
        if isinstance(value, dict):
            kept = {key: one for key, one in value.items() if not any(fnmatch(key, drop) for drop in DROPPED)}
            return {self.blank(str(key)): self._clean(one) for key, one in kept.items()}
        if isinstance(value, list | tuple):
            return [self._clean(one) for one in value]
        return self.blank(value) if isinstance(value, str) else value


class Step:
    """One step at work: its folder, the commands it has run, and what it may use."""

    def __init__(self, net: Net, here: Path) -> None:
        self.net, self.here, self.data, self.model = net, here, net.data, net.root / MODEL
        self.step = net.step
        self.commands: list[dict[str, Any]] = []
        here.mkdir()

    def run(self, command: str, *inputs: Any, **options: Any) -> int:
        """One command line, in the folder of the step. Options by their names, with "_" for "-", and a last one where
        Python has the word itself (from_); True: a flag, a list: repeated."""
        program = next(program for program, commands in COMMANDS.items() if command in commands)
        arguments = [command, *map(str, inputs)]
        for key, value in options.items():
            option = "--" + key.strip("_").replace("_", "-")
            for one in value if isinstance(value, list | tuple) else [value]:
                arguments.append(option if one is True else f"{option}={one}")
        return self.call(program, arguments, [command, *map(str, inputs), *sorted(options)])

    def call(self, program: str, arguments: list[str], title: list[str]) -> int:
        done = subprocess.run(
            [self.net.python, "-m", program, *arguments], cwd=self.here, env=self.net.environment,
            timeout=1800, stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", errors="replace",
            check=False,
        )  # fmt: skip
        told = {name: self.net.blank(getattr(done, name)).splitlines() for name in ("stdout", "stderr")}
        # how many lines of progress there are depends on the time
        told = {name: [one for one in lines if '"event": "progress"' not in one] for name, lines in told.items()}
        self.commands.append({"command": self.net.blank(" ".join(title)), "exit": done.returncode, **told})
        return done.returncode


STEPS: dict[str, Any] = {}


def step(slow: bool = False, needs_data: bool = False) -> Callable[[Any], Any]:
    def added(function: Any) -> Any:
        function.slow, function.needs_data = slow, needs_data
        STEPS[function.__name__] = function
        return function

    return added


def copied(source: Path, target: Path) -> Path:
    return Path(shutil.copytree(source, target))


# ------------------------------------------------------------------------------------- steps: the segmenting program
@step()
def commands(net: Step, here: Path) -> None:
    for program, names in COMMANDS.items():
        net.call(program, ["--help"], [program, "help"])
        for name in names if program == "SpinalCordSegLib" else ():
            net.call(program, [name, "--help"], [name, "help"])


@step(slow=True)
def trainer_options(net: Step, here: Path) -> None:
    for program, names in COMMANDS.items():
        for name in names if program != "SpinalCordSegLib" else ():
            net.call(program, [name, "--help"], [name, "help"])


@step()
def models(net: Step, here: Path) -> None:
    net.run("models")
    net.run("models", net.model)


@step()
def demo(net: Step, here: Path) -> None:
    net.run("demo", output="out")


@step()
def segment_plain(net: Step, here: Path) -> None:
    image, _ = write_neck(here / "in/plain.nii.gz")
    net.run("segment", image, output="out", save_probability=True)
    net.run("segment", image, output="out")  # kept


@step()
def segment_oblique(net: Step, here: Path) -> None:
    options = {"shape": (30, 120, 120), "spacing": (1.0, 1.0, 2.5), "area": 62.0, "lean": 0.12, "seed": 2}
    image, _ = write_neck(here / "in/oblique.nii.gz", "PSR", (8.0, -6.0, 5.0), **options)
    marks = {"disc": ["C2/C3=-2,-10,10", "C7/T1=-2,-10,-45"], "around": 10, "age": 40, "sex": "female"}
    net.run("segment", image, output="out", mask_format="seg.nrrd", progress="json", **marks, declare="t1w")


@step()
def segment_anisotropic(net: Step, here: Path) -> None:
    options = {"shape": (16, 100, 180), "spacing": (0.6, 1.0, 5.0), "area": 85.0, "lean": -0.1, "seed": 3}
    image, _ = write_neck(here / "in/anisotropic.nii.gz", "RAI", (0.0, 0.0, 10.0), **options)
    net.run("segment", image, output="torch", smooth_z=0, threshold=0.4, range_="2:12", code="P07")
    net.run("segment", image, output="whole", mask_format="nrrd")


@step()
def segment_batch(net: Step, here: Path) -> None:
    for name, area in (("a", 70.0), ("b", 50.0)):
        write_neck(here / f"in/{name}.nii.gz", shape=(8, 112, 112), area=area, seed=4)[1].unlink()
    (here / "in/c.nii.gz").write_text("no image\n", encoding="utf-8")
    net.run("segment", here / "in", output="out")
    net.run("segment", here / "in", output="coded", code="P")


def solid(path: Path, order: str, spacing: tuple[float, float, float], turn: Any, inside: Any) -> Path:
    shape = (24, 48, 44)
    return write(
        placed((inside(*axes(shape, spacing)) & np.ones(shape, bool)).astype(np.uint8), spacing, order, turn), path
    )


@step()
def measure(net: Step, here: Path) -> None:
    still, into = (0.0, 0.0, 0.0), here / "in"

    def broken(z: Any, y: Any, x: Any) -> Any:
        tube = (np.hypot(x, y) < 6) & (np.hypot(x - 1, y) > 1.2) & (np.abs(z - 1) > 2)
        return tube & ((z < 12) | (x > 0)) & (np.abs(z) < 26)

    cylinder = solid(into / "cylinder.nii.gz", "RAS", (0.5, 0.5, 2.0), still, lambda z, y, x: np.hypot(x, y) < 5)
    leant = solid(
        into / "tilted.nrrd", "LAS", (0.6, 0.8, 2.5), (5.0, 8.0, 0.0),
        lambda z, y, x: np.hypot((x - 0.3 * z) / 1.3, y - 0.1 * z) < 4.5,
    )  # fmt: skip
    two = solid(
        into / "two.nii.gz", "PSR", (0.7, 0.7, 3.0), still,
        lambda z, y, x: (np.hypot(x, y) < 5)
        | ((np.hypot(x - 10, y) < 2) & (z > 0)) | (np.hypot(x, y - 12) < 4 - abs(z)),
    )  # fmt: skip
    empty = solid(into / "empty.nii.gz", "LPS", (1.0, 1.0, 3.0), still, lambda z, y, x: (x > 1e9) & (y > 0) & (z > 0))
    holes = solid(into / "holes.mha", "SAL", (0.5, 0.6, 2.2), (0.0, 0.0, 6.0), broken)
    net.run("measure", cylinder, output="out", disc=["C2/C3=18", "C7/T1=4"], around=8)
    net.run("measure", leant, output="out", range_="4:20", label=1, mask_format="seg.nrrd")
    net.run("measure", two, output="out")
    net.run("measure", empty, output="out")
    net.run("measure", holes, output="out", disc="C2/C3=-2,-10,0")
    net.run("measure", cylinder, two, leant, output="batch")
    labels = placed(
        neck((10, 90, 90), (1.1, 1.1, 4.0))[1] * 2 + (neck((10, 90, 90), (1.1, 1.1, 4.0), 400.0)[1]), (1.1, 1.1, 4.0)
    )
    net.run("measure", write(labels, into / "labels.nii.gz"), output="label", label=3)
    net.run("measure", into / "labels.nii.gz", output="label", label=7)


@step()
def correct(net: Step, here: Path) -> None:
    image, case = net.step("segment_plain") / "in/plain.nii.gz", net.step("segment_plain") / "out/plain"
    copied(case, here / "case")
    net.run("correct", "case", edited(case / "mask.nii.gz", here / "in/edited.nii.gz"), image=image, by="A. Meyer")
    net.run("segment", image, output=here, code="case", force=True)  # a person's work is kept
    for name, options in (("fill", {"fill": "10:15"}), ("smooth", {"smooth": "4:20"}), ("again", {"rerun": "8:14"})):
        copied(here / "case", here / name)
        net.run("correct", name, image=image, disc="C2/C3=20", **options)


@step()
def review(net: Step, here: Path) -> None:
    work = copied(net.step("measure") / "out", here / "work")
    copied(net.step("segment_plain") / "out/plain", work / "plain")
    net.run("review", "work")
    net.run("review", "work", case="holes", seen="9", by="A. Meyer")
    net.run("review", "work", case="holes", seen="all", by="A. Meyer")
    net.run("review", "work", case="holes", accept=True, by="A. Meyer")
    net.run("review", "work", case="two", reject=True, by="B. Huber")
    net.run("review", "work", case="plain", accept=True)  # refused: by whom?
    net.run("review", "work", case="plain", accept=True, by="A. Meyer")
    net.run("review", "work", case="two", reopen=True, by="B. Huber")
    net.run("review", "work/plain")
    net.run("review", "work")


def visits(net: Step, here: Path, disc: bool) -> list[Path]:
    """Six visits of one person whose cord shrinks, each placed and stored in its own way, measured from their masks."""
    orders, folders = ("LPS", "RAS", "PSR", "LAS", "LPS", "RAI"), []
    for n, order in enumerate(orders):
        up, spacing = 1.7 * n - 4, (0.7 + 0.03 * n, 0.7, 3.0)
        options = {"shape": (22, 84, 84), "spacing": spacing, "area": 76 * 0.985**n, "seed": 20 + n, "up": up}
        image, mask = write_neck(here / f"in/v{n}.nii.gz", order, (0.0, 0.0, 1.5 * n), **options)
        mark = {"disc": f"C2/C3=-2,-10,{up:g}"} if disc else {}
        net.run("measure", mask, output="visits", image=image, code=f"v{n}", **mark)
        folders.append(here / f"visits/v{n}")
    return folders


DAYS = [f"20{20 + n}-03-0{n + 1}" for n in range(6)]


@step()
def follow_up_by_discs(net: Step, here: Path) -> None:
    folders = visits(net, here, True)
    net.run("follow-up", *folders, output="out", date=DAYS, person="P07", age=40)
    cov = ("--cov-same", 1.0, "ours", "--cov-between", 2.0, "ours")
    scanners = ["A"] * 3 + ["B"] * 3
    net.run("follow-up", *folders, *cov, output="part", date=DAYS, range_mm="-15:10", keep_dates=True, scanner=scanners)
    net.run("follow-up", *folders, output="flagged", date=DAYS, keep_flagged=True)
    rows = [f"P{n // 3},{folder},{400 * (n % 3)}" for n, folder in enumerate(folders)] + [f"P9,{here}/none,0"]
    (here / "in/visits.csv").write_text("person,folder,day\n" + "\n".join(rows) + "\n", encoding="utf-8")
    net.run("follow-up", here / "in/visits.csv", output="cohort")


@step()
def follow_up_by_images(net: Step, here: Path) -> None:
    folders = visits(net, here, False)
    images = [here / f"in/v{n}.nii.gz" for n in range(6)]
    net.run("follow-up", *folders, output="out", date=DAYS, image=images)
    net.run("follow-up", *folders[:2], output="mixed", date=DAYS[:2], image=images[:2], disc=["-2,-10,-4", ""])
    net.run("follow-up", *folders[:2], output="nothing", date=DAYS[:2])


@step()
def follow_up_segmented(net: Step, here: Path) -> None:
    for n in range(3):
        image, _ = write_neck(
            here / f"in/v{n}.nii.gz", shape=(18, 112, 112), area=76 - 2.0 * n, seed=30 + n, up=2.0 * n
        )
        net.run("segment", image, output="visits", disc=f"C2/C3=-2,-10,{2 * n}")
    net.run("follow-up", *(here / f"visits/v{n}" for n in range(3)), output="out", date=DAYS[:3])


@step()
def export(net: Step, here: Path) -> None:
    series = write_dicom(here / "in/series")
    net.run("segment", series, output="out", keep_date=True, age=40, sex="male", disc="C2/C3=12")
    case = next(path for path in sorted((here / "out").iterdir()) if path.is_dir())
    net.run("export", case, dicom=series, output="machine")
    net.run("export", case, dicom=series, output="machine", only="seg")  # refused: there already
    net.run("review", case, seen="all", accept=True, by="A. Meyer")
    net.run("export", case, dicom=series, output="accepted", only="sr")
    person = {"by": "A. Meyer", "reopen": True}
    net.run("correct", case, edited(case / "mask.nii.gz", here / "in/edited.nii.gz"), **person, image=series)
    net.run("export", case, dicom=series, output="corrected", only=["seg", "pdf"])
    net.run("export", case, dicom=series, output="by_hand", only="seg", drawn_by_hand=True)  # refused: the report knows
    net.run("review", case, reject=True, by="A. Meyer")
    net.run("export", case, dicom=series, output="rejected")


@step()
def propagate(net: Step, here: Path) -> None:
    plain = net.step("segment_plain")
    options = {"shape": (20, 100, 100), "spacing": (1.1, 1.1, 4.0), "seed": 8, "inverted": True, "up": 2.0}
    other, _ = write_neck(here / "in/other.nii.gz", "LAS", (2.0, 0.0, 3.0), **options)
    net.run("propagate", plain / "out/plain", image=plain / "in/plain.nii.gz", to=other, output="out")
    mask = plain / "in/plain_seg.nii.gz"
    net.run("propagate", mask, image=plain / "in/plain.nii.gz", to=other, output="out", label=1, force=True)
    net.run("propagate", mask, image=plain / "in/plain.nii.gz", to=other, output="out")


@step()
def training_set(net: Step, here: Path) -> None:
    corrected, plain = net.step("correct") / "case", net.step("segment_plain")
    for options in ({}, {}, {"force": True}):
        net.run("training-set", corrected, image=plain / "in/plain.nii.gz", subject="P07", output="out", **options)
    net.run("training-set", plain / "out/plain", image=plain / "in/plain.nii.gz", subject="P08", output="out")


# ------------------------------------------------------------------------------------------------ steps: bad inputs
@step()
def bad_inputs(net: Step, here: Path) -> None:
    image, mask = write_neck(here / "in/good.nii.gz", shape=(8, 64, 64))
    text, flat, cut = (here / f"in/{name}.nii.gz" for name in ("text", "flat", "cut"))
    text.write_text("no image\n", encoding="utf-8")
    write(sitk.GetImageFromArray(np.arange(400, dtype=np.int16).reshape(20, 20)), flat)
    cut.write_bytes(image.read_bytes()[:3000])
    other, missing = write_neck(here / "in/other.nii.gz", shape=(7, 60, 60))[1], here / "in/missing.nii.gz"
    for command in ("segment", "measure"):
        for path in (missing, text, flat, cut):
            net.run(command, path, output=f"{command}_{path.name.split('.')[0]}")
    net.run("segment", image, output="wrong", model="no_such_model")
    net.run("segment", image, output="wrong", model=text)
    net.run("segment", image, output="wrong", threshold=2)
    net.run("segment", image, output="wrong", range_="5:90")
    net.run("segment", image, output="wrong", range_="9:5")
    net.run("segment", image, output="wrong", disc="C9/C3=4")
    net.run("segment", image)
    net.run("measure", mask, output="wrong", image=other)
    net.run("correct", here / "in", mask)
    net.run("export", here / "in", dicom=here / "in", output="wrong")
    net.run("follow-up", here / "in", missing, output="wrong", date=DAYS[:2])
    net.run("review", here / "in")
    net.run("train", missing, output="wrong")
    net.run("train", here / "in", output="wrong", set="no.such=1")
    net.run("evaluate", here / "in", output="wrong", model=text)


# -------------------------------------------------------------------------------------------------- steps: training
@step()
def training_data(net: Step, here: Path) -> None:
    """Six small cases of five people, a table of them, the labels of a second person, and a folder with faults."""
    rows = ["image,label,subject,site"]
    for n in range(6):
        person, options = f"sub-{n % 5}_ses-{n // 5}", {"shape": (6, 96, 96), "spacing": (1.0, 1.0, 4.0)}
        image, mask = write_neck(here / f"cases/{person}_T1w.nii.gz", area=60 + 5 * n, seed=50 + n, **options)
        rows.append(f"cases/{image.name},cases/{mask.name},P{n % 5},{('Oslo', 'Bern')[n % 2]}")
        second = sitk.BinaryErode(sitk.ReadImage(str(mask)), (n % 3, 0, 0))
        write(second, here / "second" / mask.name)
    (here / "cases.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    copied(here / "cases", here / "faulty")
    write_neck(here / "faulty/sub-7_T1w.nii.gz", shape=(5, 90, 90))
    write_neck(here / "faulty/other.nii.gz", "RAS", shape=(5, 80, 90))[1].replace(here / "faulty/sub-7_T1w_seg.nii.gz")
    (here / "faulty/sub-1_ses-0_T1w_seg.nii.gz").write_text("no image\n", encoding="utf-8")
    net.run("check", "cases")
    net.run("check", "cases.csv", progress="json")
    net.run("check", "faulty")
    net.run("check", "faulty", tolerant=True, progress="json")


@step()
def split(net: Step, here: Path) -> None:
    data = net.step("training_data")
    net.run("check", data / "cases", output="random", hold_out=0.4, seed=3)
    net.run("check", data / "cases", output="folds", folds=3)
    net.run("check", data / "cases.csv", output="site", hold_out="site=Oslo")
    net.run("check", data / "cases.csv", output="bad", hold_out="site=Rome")


SMALL = {"set": list(SETTINGS), "device": "cpu"}


@step()
def train(net: Step, here: Path) -> None:
    cases, splits = net.step("training_data") / "cases", net.step("split")
    net.run("train", cases, output="run", split=splits / "random/split.json", augment=True, **SMALL)
    net.run("train", output="run", resume=True, set="epochs=3", device="cpu")
    net.run("train", output="run", resume=True, device="cpu", progress="json")  # done already


@step()
def fine_tune(net: Step, here: Path) -> None:
    cases, start = net.step("training_data") / "cases", net.step("train") / "run/best.safetensors"
    short = {**SMALL, "set": ["batch_size=2", "updates_per_epoch=2", "epochs=1", "crop.size=32"]}
    net.run("train", cases, output="run", from_=start, progress="json", **short)
    net.run("average", start, "run/last.safetensors", output="mean.safetensors")
    pixels = ["normalisation.kind=fixed_pixel", "normalisation.pixel_mm=0.7", "normalisation.intensity=percentile"]
    net.run("cache", cases, output="cache", boundary_offset_mm=0.3, set=pixels)
    net.run("calibrate", net.model, cache="cache", output="calibrated.safetensors", device="cpu")


@step()
def find_lr(net: Step, here: Path) -> None:
    cases = net.step("training_data") / "cases"
    net.run("find-lr", cases, output="out", updates=300, **SMALL)
    net.run("find-lr", cases, output="short", updates=3, **SMALL)


@step()
def evaluate(net: Step, here: Path) -> None:
    data, run = net.step("training_data"), net.step("train") / "run"
    splits = net.step("split")
    options = {"device": "cpu"}
    net.run("evaluate", data / "cases.csv", output="bundled", **options)
    net.run("evaluate", data / "cases", output="own", model=run / "best.safetensors", held_out=run, **options)
    net.run(
        "evaluate",
        data / "cases",
        output="masks",
        predictions=data / "second",
        held_out=splits / "folds/fold1/split.json",
    )
    net.run("evaluate", data / "faulty", output="faulty", only_labelled=True, **options)


@step()
def crossvalidate(net: Step, here: Path) -> None:
    cases = net.step("training_data") / "cases"
    net.run("train", cases, output="out", folds=2, **SMALL)


@step()
def raters(net: Step, here: Path) -> None:
    data = net.step("training_data")
    net.run("raters", data / "cases", data / "second", output="out", least_dice=0.9)
    net.run("raters", data / "cases", data / "none", output="bad")


@step()
def table1(net: Step, here: Path) -> None:
    cases = net.step("training_data") / "cases"
    net.run("table1", cases, output="out", only=["1", "8"], **SMALL)


@step(needs_data=True)
def simulate(net: Step, here: Path) -> None:
    net.run("simulate", output="out", maps=net.data, count=6, seed=5, phantoms=1)


@step(slow=True, needs_data=True)
def validate(net: Step, here: Path) -> None:
    net.run("validate", output="out", data=net.data, only=["simulated", "t1w_masked"], count=2, device="cpu")


@step(slow=True, needs_data=True)
def validate_series(net: Step, here: Path) -> None:
    net.run("validate-series", output="out", data=net.data, network=4, series=4, device="cpu")


# ---------------------------------------------------------------------------------------------- steps: real volumes
REAL = {
    "t1w": ("t1w_masked/sct-testing_T1w.nii.gz", {"save_probability": True}),
    "mt_on": ("mt_masked/sub-05_acq-MTon_MTS.nii.gz", {}),
    "mt_off": ("mt_masked/sub-05_acq-MToff_MTS.nii.gz", {}),
    "scanner_philips": ("t1w_scanners/sub-chibaIngenia_acq-T1w_MTS.nii.gz", {}),
    "scanner_ge": ("t1w_scanners/sub-juntendo750w_acq-T1w_MTS.nii.gz", {}),
    "uih": ("hard/uih_neck_T1w.nii.gz", {}),
    "gadolinium": ("hard/gadolinium_neck_T1w.nii.gz", {}),
    "ms_brain": ("hard/ms_brain_T1w.nii.gz", {}),
    "neck_t2": ("hard/neck_T2w.nii.gz", {}),
    "neck_t2star": ("hard/neck_T2starw.nii.gz", {}),
    "lumbar": ("hard/lumbar_T2w.nii.gz", {}),
    "long_t2": ("t2_masked/errsm_11_T2w.nii.gz", {}),
}


def _add_real(name: str, file: str, options: dict[str, Any]) -> None:
    def real(net: Step, here: Path) -> None:
        net.run("segment", net.data / file, output="out", **options)

    real.__name__ = f"real_{name}"
    step(slow=True, needs_data=True)(real)


for _name, (_file, _options) in REAL.items():
    _add_real(_name, _file, _options)


@step(slow=True, needs_data=True)
def real_dicom_head(net: Step, here: Path) -> None:
    series = net.data / "dicom_t1w_head"
    net.run("segment", series, output="out")
    case = next(path for path in sorted((here / "out").iterdir()) if path.is_dir())
    net.run("export", case, dicom=series, output="dicom")


@step(slow=True, needs_data=True)
def real_masks(net: Step, here: Path) -> None:
    data = net.data / "morphometry"
    net.run("measure", data / "t2_seg-manual.nii.gz", output="out", disc=data / "t2_discs.nii.gz")
    net.run("measure", net.data / "shapes/errsm_11_T1w_seg-manual.nii.gz", output="out")


# -------------------------------------------------------------------------------------------------------- comparing
def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves as (path, value). Lists of plain values stay whole; lists of lists of numbers too."""
    if isinstance(value, dict) and value:
        for key, one in value.items():
            yield from flat(one, f"{path}/{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(one, dict | list) for one in value) and _numbers(value) is None:
        yield f"{path}/count", len(value)
        for number, one in enumerate(value):
            yield from flat(one, f"{path}/{number}")
    else:
        yield path, value


def _numbers(value: Any) -> np.ndarray | None:
    """``value`` as an array where all of it are numbers, or texts of numbers as in a table."""
    if value is None or isinstance(value, bool | str):
        return None
    try:
        return np.array(
            [np.nan if one in ("", None) else one for one in value] if isinstance(value, list) else value, float
        )
    except (TypeError, ValueError):
        return None


def difference(before: Any, after: Any) -> str:
    """How two values differ, in words; empty where they do not."""
    if before == after:
        return ""
    a, b = _numbers(before), _numbers(after)
    if a is not None and b is not None and a.shape == b.shape and a.size:
        differ = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        if not differ.any():
            return f"{before!r} → {after!r} (written differently)" if a.ndim == 0 else "written differently"
        gap = np.abs(a - b)
        share = gap / np.maximum(np.abs(a), np.abs(b))
        gone = int(np.count_nonzero(differ & (np.isnan(a) | np.isnan(b))))
        worst = int(np.argmax(np.where(differ, np.nan_to_num(gap, nan=np.inf), -1)))
        known = gap[np.isfinite(gap)]
        size = f"largest {np.max(known, initial=0):.6g}, relative {np.max(share[np.isfinite(share)], initial=0):.3g}"
        lost = f", {gone} with or without a value" if gone else ""
        first = f"; worst at {worst}: {a.flat[worst]:.8g} → {b.flat[worst]:.8g}" if a.ndim else f": {before} → {after}"
        return (f"{int(differ.sum())} of {a.size} numbers differ, " if a.ndim else "") + size + lost + first
    if isinstance(before, list) and isinstance(after, list):
        lines = difflib.unified_diff(list(map(str, before)), list(map(str, after)), lineterm="", n=0)
        changed = [line for line in lines if not line.startswith(("---", "+++", "@@"))]
        return f"{len(before)} → {len(after)} entries" + "".join(f"\n        {line}" for line in changed)
    return f"{before!r} → {after!r}"


def wanted_of(reference: Path) -> dict[str, str]:
    """Pattern → why this difference is wanted."""
    path = reference / "wanted.txt"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return {pattern: why for pattern, _, why in (line.partition(" ") for line in lines) if pattern}


def compare(reference: Path, other: Path, options: argparse.Namespace) -> int:
    """Print what differs, step by step; exit code 1 where something does that nobody wanted."""
    there = [name for name in STEPS if any((folder / f"{name}.json").is_file() for folder in (reference, other))]
    names = [name for name in chosen(options) if name in there]
    n_found, n_wanted, asked = 0, 0, wanted_of(reference)
    for name in names:
        pair = [folder / f"{name}.json" for folder in (reference, other)]
        if not all(path.is_file() for path in pair):
            n_found += 1
            say(f"\n{name}: recorded in one of the two only: {next(path for path in pair if path.is_file())}")
            continue
        old, new = (json.loads(path.read_text(encoding="utf-8")) for path in pair)
        before, after = ({f"{name}/{key}": value for key, value in flat(one)} for one in (old, new))
        lines, wanted = [], []
        for key in dict.fromkeys([*before, *after]):
            if options.no_text and any(part in TEXT_KEYS for part in key.split("/")):
                continue
            if key not in after or key not in before:
                told = f"gone: {_short(before[key])}" if key in before else f"new: {_short(after[key])}"
            else:
                told = difference(before[key], after[key])
            if told:
                why = next((why for pattern, why in asked.items() if fnmatch(key, pattern)), None)
                (lines if why is None else wanted).append(f"    {key}: {told}" + ("" if why is None else f"  [{why}]"))
        n_found, n_wanted = n_found + len(lines), n_wanted + len(wanted)
        if lines or wanted:
            say("\n".join([f"\n{name}", *lines, *(["  wanted:", *wanted] if wanted else [])]))
    say(
        f"\n{len(names)} steps compared with {_commit(reference)}: {n_found} differences"
        + (f", {n_wanted} more that are wanted" if n_wanted else "")
    )
    return 1 if n_found or not names else 0


def _commit(records: Path) -> str:
    """What a record was made from."""
    path = records / COMMIT
    return path.read_text(encoding="utf-8").strip() if path.is_file() else "an unknown commit"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 200 else text[:200] + " …"


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def chosen(options: argparse.Namespace) -> list[str]:
    patterns = options.only.split(",") if options.only else ["*"]
    fitting = [name for name in STEPS if any(fnmatch(name, pattern) for pattern in patterns)]
    return [name for name in fitting if not (options.quick and STEPS[name].slow)]


def record(options: argparse.Namespace) -> None:
    net, began = Net(options), time.monotonic()
    with ThreadPoolExecutor(options.jobs) as pool:
        list(pool.map(net.step, chosen(options)))
    if not options.keep_work:
        shutil.rmtree(net.work, ignore_errors=True)
    commit = ["git", "-C", str(net.root), "describe", "--always", "--dirty"]
    (net.records / COMMIT).write_bytes(subprocess.run(commit, capture_output=True, check=False).stdout)
    say(f"{len(net.done)} steps in {time.monotonic() - began:.0f} s: {net.records}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb in ("record", "check", "compare"):
        one = verbs.add_parser(verb)
        if verb != "record":
            one.add_argument("reference", type=Path, help="folder of records")
        if verb == "compare":
            one.add_argument("other", type=Path, help="folder of records")
        else:
            default = HOME / "out" / "safety_net"
            one.add_argument("--output", type=Path, default=default, help="folder for the records (%(default)s)")
            one.add_argument("--root", type=Path, default=HOME, help="the checkout that is run (default: this one)")
            one.add_argument("--python", default=sys.executable, help="the Python that runs it (default: this one)")
            data = Path(os.environ.get("SPINALCORDSEG_DATA") or HOME.parent / "shared" / "data")
            one.add_argument("--data", type=Path, default=data, help="folder of public data (%(default)s)")
            one.add_argument("--jobs", type=int, default=2, help="steps side by side, one thread each (%(default)s)")
            one.add_argument("--keep-work", action="store_true", help="keep the folder work/: inputs and results")
        if verb != "record":
            one.add_argument("--no-text", action="store_true", help="numbers, voxels and exit codes only")
        one.add_argument("--quick", action="store_true", help="leave out the slow steps")
        one.add_argument("--only", metavar="STEPS", help=f"patterns, with commas: {', '.join(STEPS)}")
    options = parser.parse_args()
    if options.verb != "compare":
        record(options)
    if options.verb == "record":
        return 0
    return compare(options.reference, options.other if options.verb == "compare" else options.output, options)


if __name__ == "__main__":
    sys.exit(main())
