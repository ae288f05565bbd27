"""No output tells who the patient is: every file that segment, measure and track write is searched, unpacked."""

import gzip
import json

import pytest

from patient_search import DATES, NAME, leaks, secrets_of, write_series
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom

pytestmark = pytest.mark.usefixtures("pictures")  # they are searched too
CONFIG = PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS")


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(CONFIG)


def test_a_dicom_series_leaves_no_identifier_in_any_output(phantom, tiny_model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom))
    out = tmp_path / "results"
    command = ["segment", str(source), "--output", str(out), "--model", str(tiny_model), "--device", "cpu"]
    for mask_format in ("nii.gz", "seg.nrrd"):
        assert main([*command, "--save-probability", "--mask-format", mask_format, "--force", "--verbose"]) == 0
        said = capsys.readouterr()
        assert said.err, "with --verbose there is something to search"
        assert leaks(out, secrets, said.out + said.err) == []
    report = json.loads(next(out.glob("*/report.json")).read_text(encoding="utf-8"))
    assert report["input"]["acquisition"]["manufacturer"] == "Maker"  # the header was read, and searched for


def test_review_correction_carrying_and_training_sets_tell_nobody_either(phantom, tiny_model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom))
    out, image = tmp_path / "results", str(source)
    command = ["segment", image, "--output", str(out), "--model", str(tiny_model), "--device", "cpu", "--code", "S-01"]
    assert main(command) == 0
    write_volume(phantom.mask, tmp_path / "drawn.nii.gz")
    case = str(out / "S-01")
    assert main(["correct", case, str(tmp_path / "drawn.nii.gz"), "--image", image, "--by", "A. Meyer"]) == 0
    assert main(["review", str(out), "--case", "S-01", "--seen", "all", "--accept", "--by", "A. Meyer"]) == 0
    taught = ["training-set", case, "--image", image, "--subject", "S01", "--output", str(out / "set")]
    assert main(taught) == 0
    assert main(["propagate", case, "--image", image, "--to", image, "--output", str(out / "carried")]) == 0
    store = MaskVersions(out / "autosave")
    assert store.save(phantom.mask) is not None
    said = capsys.readouterr()
    assert leaks(out, secrets, said.out + said.err) == []


def test_export_says_nothing_of_what_it_writes(phantom, tiny_model, tmp_path, capsys):
    """Its files go to the archive and belong to the patient, with all that the series says; its words do not."""
    pytest.importorskip("highdicom", reason="HIGHDICOM MISSING: DICOM export was not tested (extra: dicom)")
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom))
    out = tmp_path / "results"
    write_volume(phantom.mask, tmp_path / "drawn.nii.gz")
    measured = ["measure", str(tmp_path / "drawn.nii.gz"), "--image", str(source), "--output", str(out)]
    assert main([*measured, "--code", "S-01"]) == 0
    export = ["export", str(out / "S-01"), "--dicom", str(source), "--drawn-by-hand", "--verbose"]
    assert main([*export, "--output", str(tmp_path / "archive")]) == 0
    assert len(list((tmp_path / "archive").iterdir())) == 3
    assert main([*export, "--output", str(tmp_path / "archive")]) == 2  # they are there already
    said = capsys.readouterr()
    assert "S-01.seg.dcm" in said.out and "--force" in said.err
    # a traceback, which --verbose asked for, may name the folder that the user typed
    assert leaks(out, secrets, (said.out + said.err).replace(str(source), "")) == []


def test_a_failing_series_says_no_name_either(phantom, tiny_model, tmp_path, capsys):
    source = tmp_path / "Pérezmüller_Josefine"
    secrets = secrets_of(write_series(source, phantom))
    (source / "IM4").unlink()
    write_volume(phantom.mask, tmp_path / "cord.nrrd")
    out = tmp_path / "results"
    inputs = ["segment", str(source), str(tmp_path / "missing.nii"), "--output", str(out), "--model", str(tiny_model)]
    assert main(inputs) == 1
    capsys.readouterr()  # on the screen a folder that the user typed may be named
    assert leaks(out, secrets) == []


def test_a_date_is_kept_only_when_asked_for(phantom, tiny_model, tmp_path):
    uids = write_series(tmp_path / "series", phantom)
    out = tmp_path / "results"
    command = ["segment", str(tmp_path / "series"), "--output", str(out), "--model", str(tiny_model), "--device", "cpu"]
    assert main([*command, "--keep-date", "--code", "S-01"]) == 0
    report = json.loads((out / "S-01" / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["acquisition_date"] == DATES["AcquisitionDate"]
    correction = ["correct", str(out / "S-01"), str(out / "S-01" / "mask.nii.gz"), "--image", str(tmp_path / "series")]
    assert main(correction) == 0
    report = json.loads((out / "S-01" / "report.json").read_text(encoding="utf-8"))
    assert report["input"]["acquisition_date"] == DATES["AcquisitionDate"], "a correction keeps what was asked for"
    kept = set(DATES.values())
    assert leaks(out, [secret for secret in secrets_of(uids) if secret not in kept]) == []


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
    folders = sorted(path.name for path in (out / "batch").iterdir() if path.is_dir())
    assert folders == ["S-08", "index_files"] and (out / "batch" / "index.html").is_file()
    assert leaks(out, ["Quintanilla^Rosa", "00987654321", "1941-09-23", "19410923"]) == []


def test_a_follow_up_tells_neither_date_nor_folder_nor_name(named_after_a_patient, tmp_path, capsys):
    results = tmp_path / "Quintanilla"
    for n, path in enumerate(named_after_a_patient):
        command = ["measure", str(path), "--output", str(results), "--code", f"S-{n}", "--disc", "C2/C3=4"]
        assert main([*command, "--age", "81", "--sex", "female"]) == 0
    capsys.readouterr()
    folders = [str(results / f"S-{n}") for n in range(2)]
    out = tmp_path / "out"
    dates = ["--date", "2021-04-17", "--date", "2023-04-18"]
    assert main(["follow-up", *folders, *dates, "--output", str(out), "--person", "S-1", "--age", "81"]) == 0
    said = capsys.readouterr().out
    secrets = ["Quintanilla^Rosa", "2021-04-17", "2023-04-18", "20210417", "20230418", str(tmp_path / "in")]
    assert leaks(out, secrets, said.replace(str(out), "")) == []
    assert leaks(results, secrets) == []


def test_the_search_itself_finds_what_is_hidden(tmp_path):
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress("…Pérezmüller…".encode()))
    assert leaks(tmp_path, [NAME]) == [f"a.nii.gz: {NAME}"]
