"""One small, good example of everything that is read, each in a folder of its own: what the soak damages copies of."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import SimpleITK as sitk
import torch
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.dicom import save_bare
from SpinalCordSegLib.files import to_json
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.checkpoint import Checkpoint, NetworkConfig, save_checkpoint
from SpinalCordSegLib.model.networks import build_network
from SpinalCordSegLib.model.preprocessing import NormalisationConfig
from SpinalCordSegLib.volume import Volume
from SpinalCordSegTrainerLib.config import CropConfig, RateConfig, SourceConfig, TrainingConfig
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.trainer import Training

SHAPE = (40, 32, 8)
GRID = np.array([[-0.7, 0, 0, 14], [0, -0.9, 0, 14], [0, 0, 3.0, -10], [0, 0, 0, 1]])
_WORKSPACE = """<?xml version="1.0" encoding="UTF-8" ?>
<!DOCTYPE registry [
<!ELEMENT registry (entry*,folder*)>
<!ELEMENT folder (entry*,folder*)>
<!ELEMENT entry EMPTY>
<!ATTLIST folder key CDATA #REQUIRED>
<!ATTLIST entry key CDATA #REQUIRED>
<!ATTLIST entry value CDATA #REQUIRED>
]>
<registry>
 <entry key="SaveLocation" value="/data/x" />
 <folder key="Layers">
  <folder key="Layer[000]">
   <entry key="AbsolutePath" value="/data/x/neck.nii.gz" /><entry key="Role" value="MainRole" />
   <folder key="ProjectMetaData"><folder key="IRIS"><folder key="LabelTable">
    <folder key="Element[0]"><entry key="Index" value="1" /><entry key="Label" value="Spinal cord" /></folder>
   </folder></folder></folder>
   <folder key="ImageTransform"><entry key="IsIdentity" value="1" /></folder>
  </folder>
  <folder key="Layer[001]">
   <entry key="AbsolutePath" value="/data/x/drawn.nii.gz" /><entry key="Role" value="SegmentationRole" />
  </folder>
 </folder>
</registry>
"""


def cord(seed: int = 0, value: int = 1) -> tuple[Volume, Volume]:
    """Image (int16 noise with a bright cord) and label map."""
    label = np.zeros(SHAPE, np.uint8)
    label[15:27, 12:21, 1:7] = value
    image = np.random.default_rng(seed).integers(0, 300, SHAPE).astype(np.int16) + (400 * (label > 0)).astype(np.int16)
    return Volume.from_ijk(image, GRID), Volume.from_ijk(label, GRID)


def make_samples(root: Path) -> None:
    """Everything below ``root``, and ``root``/tiny.safetensors."""
    torch.set_num_threads(1)
    _model(root / "tiny.safetensors")
    _volumes(root)
    _labelled(root)
    _dicom(root / "dicom")
    _trainer(root)
    _results(root)
    (root / "model").mkdir()
    (root / "model" / "tiny.safetensors").write_bytes((root / "tiny.safetensors").read_bytes())
    write_volume(cord()[0], root / "model" / "neck.nii.gz")


def _model(path: Path) -> None:
    network = NetworkConfig("ra_unet", width=1)
    weights = build_network(network).state_dict()
    save_checkpoint(Checkpoint("tiny", "0", network, NormalisationConfig(kind="paper", size=64), weights), path)


def _volumes(root: Path) -> None:
    """The same label map in every format of volumes, readable as image and as mask."""
    image, label = cord()
    for folder, name in (
        ("nifti", "neck.nii"), ("nifti_gz", "neck.nii.gz"), ("nrrd", "neck.nrrd"), ("seg_nrrd", "neck.seg.nrrd"),
        ("mha", "neck.mha"),
    ):  # fmt: skip
        write_volume(label, root / folder / name)
    write_volume(label, root / "nrrd_raw" / "neck.nrrd", compress=False)
    (root / "nifti_float").mkdir()
    nibabel.save(nibabel.Nifti1Image(label.ijk.astype(np.float32), GRID), root / "nifti_float" / "neck.nii")
    (root / "nifti_pair").mkdir()
    nibabel.save(nibabel.Nifti1Pair(label.ijk, GRID), root / "nifti_pair" / "neck.hdr")
    stored = sitk.ReadImage(str(root / "nifti" / "neck.nii"))
    for folder, name in (("nhdr", "neck.nhdr"), ("mhd", "neck.mhd")):
        (root / folder).mkdir()
        sitk.WriteImage(stored, str(root / folder / name), useCompression=False)
    (root / "discs").mkdir()
    discs = np.zeros(SHAPE, np.uint8)
    discs[20, 24, 5], discs[20, 24, 2] = 3, 4
    write_volume(label.with_ijk(discs), root / "discs" / "discs.nii")
    write_volume(label, root / "discs" / "neck.nii.gz")
    sidecar = {"PatientName": "Doe^Anna", "PatientID": "4711", "Manufacturer": "Maker", "MagneticFieldStrength": 3}
    for folder in ("sidecar", "names"):
        write_volume(label, root / folder / "neck.nii.gz")
    (root / "sidecar" / "neck.json").write_text(json.dumps(sidecar))
    write_volume(image, root / "sidecar" / "other.nii.gz")


def _labelled(root: Path) -> None:
    """What only the trainer reads: pairs of image and label map, and the files that describe them."""
    for folder in ("manifest", "split", "training_sidecar"):
        for n, name in enumerate(("anna", "bert")):
            image, label = cord(n)
            write_volume(image, root / folder / f"{name}.nii.gz")
            write_volume(label, root / folder / f"{name}_seg.nii.gz")
    for name in ("anna", "bert"):
        write_volume(cord()[1], root / "drawn" / f"{name}.nii.gz")
    write_volume(cord()[0], root / "workspace" / "neck.nii.gz")
    write_volume(cord()[1], root / "workspace" / "drawn.nii.gz")
    (root / "workspace" / "neck.itksnap").write_text(_WORKSPACE)
    rows = [
        "image,label,subject,session,label_value,site",
        *(f"{n}.nii.gz,{n}_seg.nii.gz,{n},1,1,Oslo" for n in ("anna", "bert")),
    ]
    (root / "manifest" / "table.csv").write_text("\n".join(rows) + "\n")
    (root / "split" / "split.json").write_text(json.dumps([{"training": ["anna"], "validation": ["bert"]}]))
    told = {
        "Manufacturer": "Maker",
        "ManufacturersModelName": "M",
        "MagneticFieldStrength": 3.0,
        "InstitutionName": "Oslo",
    }
    (root / "training_sidecar" / "anna.json").write_text(json.dumps(told))
    (root / "training_sidecar" / "participants.tsv").write_text("participant_id\tsite\nanna\tOslo\nbert\tRom\n")


def _dicom(folder: Path) -> None:
    image = cord()[0].ijk
    study, series = generate_uid(), generate_uid()
    for k in range(SHAPE[2]):
        one = _slice(image[:, :, k : k + 1], study, series)
        one.InstanceNumber = k + 1
        one.ImagePositionPatient, one.ImageOrientationPatient = [-14, -14, -10 + 3 * k], [1, 0, 0, 0, 1, 0]
        one.PixelSpacing, one.SliceThickness = [0.9, 0.7], 3.0
        (folder / "series").mkdir(parents=True, exist_ok=True)
        save_bare(one, ExplicitVRLittleEndian, folder / "series" / f"IM{k}")
    enhanced = _slice(image, study, generate_uid())
    enhanced.SOPClassUID, enhanced.NumberOfFrames = "1.2.840.10008.5.1.4.1.1.4.1", SHAPE[2]
    shared = _item(
        PlaneOrientationSequence=_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
        PixelMeasuresSequence=_item(PixelSpacing=[0.9, 0.7], SliceThickness=3.0),
    )
    enhanced.SharedFunctionalGroupsSequence = shared
    frames = [
        _item(PlanePositionSequence=_item(ImagePositionPatient=[-14, -14, -10 + 3 * k]))[0] for k in range(SHAPE[2])
    ]
    enhanced.PerFrameFunctionalGroupsSequence = Sequence(frames)
    (folder.parent / "enhanced" / "series").mkdir(parents=True)
    save_bare(enhanced, ExplicitVRLittleEndian, folder.parent / "enhanced" / "series" / "IM0")


def _slice(voxels: np.ndarray, study: str, series: str) -> Dataset:
    one = Dataset()
    one.SpecificCharacterSet = "ISO_IR 192"
    one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
    one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, study
    one.Modality, one.SeriesNumber, one.SeriesDescription = "MR", 3, "T1w neck"
    one.PatientName, one.PatientID, one.StudyDate = "Doe^Anna", "4711", "20240131"
    one.Rows, one.Columns = voxels.shape[1], voxels.shape[0]
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation, one.RescaleSlope, one.RescaleIntercept = 15, 1, 1, 0
    one.EchoTime, one.RepetitionTime, one.MagneticFieldStrength = 2.7, 8.2, 3.0
    one.PixelData = np.ascontiguousarray(voxels.transpose(2, 1, 0)).tobytes()
    one["PixelData"].VR = "OW"
    return one


def _item(**elements: object) -> Sequence:
    one = Dataset()
    for keyword, value in elements.items():
        setattr(one, keyword, value)
    return Sequence([one])


def _trainer(root: Path) -> None:
    """A slice cache, a configuration that trains on it, and a run with its saved state."""
    rng = np.random.default_rng(0)
    drawn = np.zeros((64, 64))
    drawn[26:36, 24:38] = 1
    slices = ((rng.random((64, 64)) * 0.3 + 0.6 * drawn, drawn, str(n // 2)) for n in range(6))
    cache = SliceCache.write(
        root / "cache" / "slices", slices, normalisation={}, kind="simulated", source={"cases": ["anna"]}
    )
    config = TrainingConfig(
        network=NetworkConfig("ra_unet", 1), sources=(SourceConfig(str(cache.folder)),), crop=CropConfig(size=32, jitter_px=6),
        rate=RateConfig(plan="cosine"), batch_size=2, updates_per_epoch=1, epochs=1, statistics_batches=1,
    )  # fmt: skip
    (root / "config").mkdir()
    (root / "config" / "config.json").write_text(json.dumps(to_json(config)))
    Training(replace(config, epochs=1), root / "state" / "run").run()


def _results(root: Path) -> None:
    """Two finished visits of a person with their table, and a manifest of them."""
    for n in range(2):
        image, label = cord(n)
        write_volume(image, root / "results" / f"v{n}.nii.gz")
        write_volume(label, root / "results" / f"v{n}_mask.nii.gz")
        mask = root / "results" / f"v{n}_mask.nii.gz"
        told = ["--disc", "C2/C3=5", "--output", str(root / "results" / "done"), "--code", f"V{n}"]
        code = main(["measure", str(mask), "--image", str(root / "results" / f"v{n}.nii.gz"), *told])
        if code:
            raise RuntimeError(f"the sample result could not be made: exit code {code}")
    corrected = [
        "correct",
        str(root / "results" / "done" / "V0"),
        str(root / "results" / "v0_changed.nii.gz"),
        "--by",
        "A",
    ]
    changed = cord(0)[1]
    changed.ijk[15, :, 3] = 0
    write_volume(changed, root / "results" / "v0_changed.nii.gz")
    if main(corrected):
        raise RuntimeError("the sample result could not be corrected")
    rows = ["person,folder,date,image", *(f"P1,done/V{n},202{n + 1}-01-31,v{n}.nii.gz" for n in range(2))]
    (root / "results" / "visits.csv").write_text("\n".join(rows) + "\n")
