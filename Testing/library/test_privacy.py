"""No output tells who the patient is: every file that segment, measure and track write is searched, unpacked."""

import gzip
import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.correction.correction_store import CorrectionStore
from SpinalCordSegLib.images.dicom_pixels import save_bare
from SpinalCordSegLib.images.files import write_volume
from SpinalCordSegLib.network.checkpoint import Checkpoint, save_checkpoint
from SpinalCordSegLib.network.networks import NetworkConfig, build_network
from SpinalCordSegLib.network.normalise import NormalisationConfig
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom

CONFIG = PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS")
NAME, PATIENT_ID, BIRTH, ACCESSION = "Pérezmüller^Josefine", "00987654321", "19410923", "ACC5550123"
DATES = {"StudyDate": "20230417", "AcquisitionDate": "20230418"}
TEXTS = {
    "OtherPatientIDs": "OLD-7788991",
    "PatientMotherBirthName": "Quintanilla",
    "PatientTelephoneNumbers": "0049301234567",
    "InstitutionName": "Klinikum Entenhausen",
    "StationName": "MRSTATION77",
    "DeviceSerialNumber": "SERIAL445566",
    "ReferringPhysicianName": "Hausarztova^Olga",
    "OperatorsName": "Bedienerin^Rita",
    "StudyID": "STUDY998877",
    "StudyDescription": "Pérezmüller Verlaufskontrolle",
}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(CONFIG)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "tiny.safetensors"
    network = NetworkConfig("ra_unet", width=1)
    weights = build_network(network).state_dict()
    save_checkpoint(Checkpoint("tiny", "0", network, NormalisationConfig(kind="paper", size=64), weights), path)
    return path


def _write_dicom(folder: Path, phantom) -> list[str]:
    """The phantom as a series full of identifiers; gives all that must not show."""
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    pixels = np.clip(phantom.image.voxels, 0, 30_000).astype(np.int16)
    uids = [str(study), str(series), str(frame)]
    origin = phantom.image.ijk_to_ras[:3, 3] * (-1, -1, 1)
    folder.mkdir(parents=True)
    for k in range(pixels.shape[2]):
        one = Dataset()
        one.SpecificCharacterSet = "ISO_IR 192"
        one.SOPClassUID, one.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.4", generate_uid()
        one.StudyInstanceUID, one.SeriesInstanceUID, one.FrameOfReferenceUID = study, series, frame
        one.Modality, one.SeriesNumber, one.InstanceNumber = "MR", 3, k + 1
        one.SeriesDescription = "T1w Pérezmüller neck"
        one.PatientName, one.PatientID, one.PatientBirthDate, one.AccessionNumber = NAME, PATIENT_ID, BIRTH, ACCESSION
        for keyword, value in {**DATES, **TEXTS}.items():
            setattr(one, keyword, value)
        one.Manufacturer, one.ManufacturerModelName, one.MagneticFieldStrength = "Maker", "Model M", 3.0
        one.ImageType = ["ORIGINAL", "PRIMARY", "M", "DIS3D"]
        one.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        one.ImagePositionPatient = np.add(origin, (0, 0, 3.0 * k)).tolist()
        one.PixelSpacing, one.SliceThickness = [0.8, 0.6], 3.0
        one.Rows, one.Columns = pixels.shape[1], pixels.shape[0]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated = one.BitsStored = 16
        one.HighBit, one.PixelRepresentation = 15, 1
        one.PixelData = np.ascontiguousarray(pixels[:, :, k].T).tobytes()
        one["PixelData"].VR = "OW"
        save_bare(one, ExplicitVRLittleEndian, folder / f"IM{k}")
        uids.append(str(one.SOPInstanceUID))
    return uids


def _unpacked(path: Path) -> bytes:
    """A file's bytes and, behind them, what is compressed in it. A page's picture is left out: it is a file as well,
    and four letters of a name are found by chance in base64."""
    data = re.sub(rb"data:image/png;base64,[A-Za-z0-9+/=]+", b"", path.read_bytes())
    more = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else b""
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        more = _png_texts(data)
    if b"encoding: gzip" in data[:4096]:
        more = zlib.decompress(data[data.index(b"\n\n") + 2 :], wbits=31)
    return data + more


def _png_texts(data: bytes) -> bytes:
    """The content of all chunks but the pixels; compressed text is unpacked."""
    found, at = b"", 8
    while at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if kind != b"IDAT":
            found += data[at + 8 : at + 8 + size]
        if kind in (b"zTXt", b"iTXt"):
            found += zlib.decompress(data[at + 8 : at + 8 + size].split(b"\0", 2)[-1])
        at += 12 + size
    return found


def _spellings(text: str) -> list[bytes]:
    parts = [text, *text.replace("^", " ").split()]
    return [part.encode(code) for part in parts if len(part) > 3 for code in ("utf-8", "latin-1", "utf-16-le")]


def _leaks(folder: Path, secrets: list[str], said: str = "") -> list[str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert files
    wrong = []
    for secret in secrets:
        for spelled in _spellings(secret):
            wrong += [f"{path.name}: {secret}" for path in files if spelled.lower() in _unpacked(path).lower()]
            wrong += [
                f"name {path}: {secret}"
                for path in files
                if spelled.lower() in str(path.relative_to(folder)).encode().lower()
            ]
        wrong += [f"said: {secret}" for part in secret.split("^") if part.casefold() in said.casefold()]
    return wrong


def _secrets(uids: list[str]) -> list[str]:
    dashed = [f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in (*DATES.values(), BIRTH)]
    others = [text for key, text in TEXTS.items() if key != "StudyDescription"]
    return [NAME, "Perezmueller", "Perezmuller", PATIENT_ID, BIRTH, ACCESSION, *DATES.values(), *dashed, *others, *uids]


def test_a_dicom_series_leaves_no_identifier_in_any_output(phantom, model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = _secrets(_write_dicom(source, phantom))
    out = tmp_path / "results"
    command = ["segment", str(source), "--output", str(out), "--model", str(model), "--device", "cpu"]
    for mask_format in ("nii.gz", "seg.nrrd"):
        assert main([*command, "--save-probability", "--mask-format", mask_format, "--force"]) == 0
        said = capsys.readouterr()
        assert _leaks(out, secrets, said.out + said.err) == []
    report = json.loads(next(out.glob("*/report.json")).read_text(encoding="utf-8"))
    assert report["input"]["acquisition"]["manufacturer"] == "Maker"  # the header was read, and searched for


def test_review_correction_carrying_and_training_sets_tell_nobody_either(phantom, model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = _secrets(_write_dicom(source, phantom))
    out, image = tmp_path / "results", str(source)
    command = ["segment", image, "--output", str(out), "--model", str(model), "--device", "cpu", "--code", "S-01"]
    assert main(command) == 0
    write_volume(phantom.mask, tmp_path / "drawn.nii.gz")
    case = str(out / "S-01")
    assert main(["correct", case, str(tmp_path / "drawn.nii.gz"), "--image", image, "--by", "A. Meyer"]) == 0
    assert main(["review", str(out), "--case", "S-01", "--seen", "all", "--accept", "--by", "A. Meyer"]) == 0
    taught = ["training-set", case, "--image", image, "--subject", "S01", "--output", str(out / "set")]
    assert main(taught) == 0
    assert main(["carry", case, "--image", image, "--to", image, "--output", str(out / "carried")]) == 0
    store = CorrectionStore(out / "autosave", "S-01")
    assert store.save(phantom.mask) is not None
    said = capsys.readouterr()
    assert _leaks(out, secrets, said.out + said.err) == []


def test_a_failing_series_says_no_name_either(phantom, model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = _secrets(_write_dicom(source, phantom))
    (source / "IM4").unlink()
    write_volume(phantom.mask, tmp_path / "cord.nrrd")
    out = tmp_path / "results"
    inputs = ["segment", str(source), str(tmp_path / "missing.nii"), "--output", str(out), "--model", str(model)]
    assert main(inputs) == 1
    capsys.readouterr()  # on the screen a folder that the user typed may be named
    assert _leaks(out, secrets) == []


def test_a_date_is_kept_only_when_asked_for(phantom, model, tmp_path):
    uids = _write_dicom(tmp_path / "series", phantom)
    out = tmp_path / "results"
    command = ["segment", str(tmp_path / "series"), "--output", str(out), "--model", str(model), "--device", "cpu"]
    assert main([*command, "--keep-date", "--code", "S-01"]) == 0
    report = json.loads((out / "S-01" / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["acquisition_date"] == DATES["AcquisitionDate"]
    correction = ["correct", str(out / "S-01"), str(out / "S-01" / "mask.nii.gz"), "--image", str(tmp_path / "series")]
    assert main(correction) == 0
    report = json.loads((out / "S-01" / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["acquisition_date"] == DATES["AcquisitionDate"], "a correction keeps what was asked for"
    kept = set(DATES.values())
    assert _leaks(out, [secret for secret in _secrets(uids) if secret not in kept]) == []


@pytest.fixture
def named_after_a_patient(phantom, tmp_path):
    """Two masks named after a patient; dcm2niix's sidecar beside the second says so."""
    paths = [tmp_path / "in" / name for name in ("Quintanilla_Rosa_1941.nii.gz", "Rosa_Quintanilla.nii.gz")]
    for path in paths:
        write_volume(phantom.mask, path)
    sidecar = {"PatientName": "Quintanilla^Rosa", "PatientID": "00987654321", "PatientBirthDate": "1941-09-23"}
    (tmp_path / "in" / "Rosa_Quintanilla.json").write_text(json.dumps(sidecar), encoding="utf-8")
    return paths


def test_a_nifti_named_after_a_patient_is_not_called_so(named_after_a_patient, tmp_path, capsys):
    coded, known = named_after_a_patient
    out = tmp_path / "out"
    assert main(["measure", str(known), "--output", str(out / "known"), "--image", str(known)]) == 0
    assert main(["measure", str(coded), "--output", str(out / "coded"), "--code", "S-07"]) == 0
    broken = tmp_path / "in" / "Quintanilla_broken.nii.gz"
    broken.write_text("no image")
    assert main(["measure", str(coded), str(broken), "--output", str(out / "batch"), "--code", "S-08"]) == 1
    capsys.readouterr()
    assert sorted(path.name for path in (out / "batch").iterdir()) == ["S-08", "summary.csv"]
    assert _leaks(out, ["Quintanilla^Rosa", "00987654321", "1941-09-23", "19410923"]) == []


def test_a_follow_up_tells_neither_date_nor_folder_nor_name(named_after_a_patient, tmp_path, capsys):
    results = tmp_path / "Quintanilla"
    for n, path in enumerate(named_after_a_patient):
        command = ["measure", str(path), "--output", str(results), "--code", f"S-{n}", "--disc", "C2/C3=4"]
        assert main([*command, "--age", "81", "--sex", "female"]) == 0
    capsys.readouterr()
    folders = [str(results / f"S-{n}") for n in range(2)]
    out = tmp_path / "out"
    dates = ["--date", "2021-04-17", "--date", "2023-04-18"]
    assert main(["track", *folders, *dates, "--output", str(out), "--person", "S-1", "--age", "81"]) == 0
    said = capsys.readouterr().out
    secrets = ["Quintanilla^Rosa", "2021-04-17", "2023-04-18", "20210417", "20230418", str(tmp_path / "in")]
    assert _leaks(out, secrets, said.replace(str(out), "")) == []
    assert _leaks(results, secrets) == []


def test_the_search_itself_finds_what_is_hidden(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress("…Pérezmüller…".encode()))
    assert _leaks(tmp_path, [NAME]) == [f"a.nii.gz: {NAME}"]
