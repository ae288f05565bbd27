"""A case on the disk: whole or not there, one program at a time, and nobody's work is lost; versions of its mask."""

import errno
import json
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timezone
from math import isnan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from SpinalCordSegLib import case as case_module
from SpinalCordSegLib import files
from SpinalCordSegLib.case import Case, ModelSummary, is_as_measured, save_case, update_review
from SpinalCordSegLib.case_folder import read_mask
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.errors import ConfigurationError, InputFileError, OutputError, WouldReplaceError
from SpinalCordSegLib.image_io import Image, write_volume
from SpinalCordSegLib.mask_versions import MaskVersions
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.review import ACCEPTED, GIVEN, Review, decided, with_seen
from SpinalCordSegLib.slice_table import columns
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions
from SpinalCordSegLib.volume import Volume, mask_sha256

_FILES = {"mask.nii.gz", "mask_ai.nii.gz", "report.json", "slices.csv", "montage.png", "report.html"}
CONFIG = PhantomConfig(shape=(60, 48, 6), spacing_mm=(0.6, 0.8, 3.0), orientation="LPI")


@pytest.fixture(scope="module")
def result() -> Case:
    """Slices stored from superior; canonical slice 3 is empty."""
    phantom = make_phantom(CONFIG)
    mask = phantom.mask.ijk.copy()
    mask[:, :, 2] = False
    return replace(measure_mask(phantom.mask.with_ijk(mask), "neck"), probability=phantom.coverage)


@pytest.fixture(scope="module")
def ai(result: Case) -> Case:
    """The same as a network's."""
    model = ModelSummary("tiny", "3", "ab" * 32, "CC0-1.0", {"data": ["a", "b"]}, {"dice": 0.9})
    return replace(result, mask_state="AI", review=Review(), model=model, threshold=0.4, smooth_z_mm=1.6)


@pytest.fixture
def folder(ai: Case, tmp_path: Path) -> Path:
    """A network's case in its folder."""
    save_case(ai, tmp_path / "neck")
    return tmp_path / "neck"


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _edited(mask: Volume, k: int = 4) -> Volume:
    voxels = mask.ijk.copy()
    voxels[:, :, k] = np.roll(voxels[:, :, k], 2, axis=0)
    return mask.with_ijk(voxels)


# What a case holds.


def test_a_case_is_the_same_after_the_disk(ai: Case, tmp_path: Path) -> None:
    saved = save_case(ai, tmp_path / "new" / "neck")
    assert _names(tmp_path / "new" / "neck") == _FILES == set(saved.files) and _names(tmp_path / "new") == {"neck"}
    read = Case.load(tmp_path / "new" / "neck")
    assert read.as_json() == saved.as_json() and read.report_sha256 == saved.report_sha256
    assert (read.flags, read.queue, read.model, read.review) == (ai.flags, ai.queue, ai.model, ai.review)
    assert read.slices.csv() == ai.slices.csv()
    assert np.array_equal(read.mask.ijk, ai.mask.ijk) and np.allclose(
        read.mask.voxel_to_ras, ai.mask.voxel_to_ras, atol=1e-4
    )
    assert read.mask_sha256 == mask_sha256(read.mask) and is_as_measured(read)


def test_a_report_has_no_nan_and_says_how_it_was_made(result: Case) -> None:
    content = result.as_json()
    json.dumps(content, allow_nan=False)
    assert content["input"]["shape"] == [60, 48, 6] and content["input"]["orientation"] == "LPI"
    assert content["n_slices"] == 5 and content["review"]["state"] == GIVEN
    assert {"slice": 2, "canonical_slice": 3, "kind": "gap"}.items() <= content["flags"][-1].items()


@pytest.mark.parametrize(
    "changes",
    [
        {"case": "../../x"}, {"case": None}, {"mask_state": "drawn"}, {"flags": [5]}, {"levels": 5}, {"coverage": "1"},
        {"volume_mm3": 10**400}, {"review": {"state": "perfect"}}, {"review": {"state": "ai", "seen": ["x"]}},
        {"input": {}}, {"range": [1]}, {"schema": "other"}, {"schema_version": 99}, {"files": ["../x"]}, {"files": []},
    ],
)  # fmt: skip
def test_a_report_that_is_not_as_it_was_written_is_refused(folder: Path, changes: dict, tmp_path: Path) -> None:
    report = folder / "report.json"
    report.write_text(json.dumps(json.loads(report.read_text()) | changes))
    with pytest.raises(InputFileError, match="neck"):
        Case.load(folder)


@pytest.mark.parametrize(
    ("file", "content"),
    [("report.json", None), ("report.json", "[" * 100_000), ("mask.nii.gz", None), ("slices.csv", None)],
)
def test_a_case_that_is_not_whole_is_refused(folder: Path, file: str, content: str | None) -> None:
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_text(content)
    with pytest.raises(InputFileError):
        Case.load(folder)
    if file == "slices.csv":
        assert len(Case.load(folder, needs_slices=False).slices) == 0


def test_instance_numbers_go_with_axial_dicom_only_and_no_text_of_a_header(result: Case) -> None:
    header = SimpleNamespace(
        number=3, modality="MR", manufacturer="X", model="Y", field_strength_t=3.0, sequence="GR", dimension="3D",
        repetition_time_ms=8.2, echo_time_ms=2.7, inversion_time_ms=None, flip_angle_deg=12.0,
        slice_thickness_mm=3.0, contrast_agent=False, image_type=("ORIGINAL",), body_part="", description="secret name",
        instance_numbers=(11, 12, 13, 14, 15, 16),
    )  # fmt: skip
    axial = measure_mask(result.mask, "neck", image=Image(result.mask, Path("x"), "neck", header))
    assert axial.slices.instance_number.tolist() == [16, 15, 14, 13, 12, 11]
    assert axial.input.acquisition["manufacturer"] == "X" and "secret" not in json.dumps(axial.as_json())
    sagittal = make_phantom(replace(CONFIG, orientation="SPR")).mask
    other = measure_mask(sagittal, "neck", image=Image(sagittal, Path("x"), "neck", header))
    assert other.slices.texts()["instance_number"] == [""] * 6


def test_a_slice_without_a_shape_does_not_cost_the_case_its_diameters() -> None:
    """A leaning rod that ends in a single pixel: shrunk by its tilt, that is less than half of any pixel."""
    x, y, z = np.indices((60, 60, 20))
    voxels = (x - 20 - 0.3 * z) ** 2 + (y - 30) ** 2 < 25
    voxels[:, :, 19] = False
    voxels[26, 30, 19] = True
    whole = measure_mask(Volume.from_ijk(voxels, np.eye(4)), "rod")
    assert isnan(whole.slices.rl_mm[-1]) and whole.slices.csa_mm2[-1] > 0
    mean = np.average(whole.slices.rl_mm[:-1], weights=whole.slices.length_mm[:-1])
    assert whole.mean_rl_mm == pytest.approx(mean, abs=1e-3)


def test_coarse_voxels_give_a_volume_and_no_area_in_any_words() -> None:
    """2 mm from left to right: volume over length would be the area that may not be reported."""
    phantom = make_phantom(PhantomConfig(shape=(24, 48, 20), spacing_mm=(2.0, 0.8, 3.0)))
    marked = LevelOptions((DiscMark(3, slice=10),), around_mm=10, age_years=40, sex="female")
    measured = measure_mask(phantom.mask, "coarse", levels=marked)
    content = measured.as_json()
    in_mm = [one.name for one in columns() if one.unit in ("mm", "mm²")]
    answered = {name for name in in_mm if np.isfinite(getattr(measured.slices, name)).any()}
    assert answered == {"z_mm", "length_mm"}, "a new area or diameter is a section too"
    assert content["volume_mm3"] > 0
    assert [content[name] for name in ("mean_csa_mm2", "volume_per_length_mm2", "mean_rl_mm")] == [None] * 3
    rows = content["levels"]["levels"]
    assert {row[name] for row in rows for name in ("mean_csa_mm2", "volume_mm3", "length_mm")} == {None}
    assert "no area at vertebral level C2;" in content["levels"]["norm"]["text"], "the disc is marked"


# The folder appears whole or not at all.


@pytest.mark.parametrize("mask_format", ["seg.nrrd", "nrrd"])
def test_formats_and_probability(result: Case, tmp_path: Path, mask_format: str) -> None:
    save_case(result, tmp_path / "neck", mask_format=mask_format, save_probability=True)
    assert {f"mask.{mask_format}", "probability.nrrd"} <= _names(tmp_path / "neck")
    with pytest.raises(ConfigurationError, match="mgz"):
        save_case(result, tmp_path / "other", mask_format="mgz")


def test_replacing_keeps_what_the_user_added(ai: Case, folder: Path) -> None:
    (folder / "my notes.txt").write_text("keep")
    save_case(ai, folder, mask_format="seg.nrrd")
    assert _names(folder) == _FILES - {"mask.nii.gz", "mask_ai.nii.gz"} | {
        "my notes.txt", "mask.seg.nrrd", "mask_ai.seg.nrrd",
    }  # fmt: skip
    assert _names(folder.parent) == {"neck"}


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "other"}', "[1]", "not json"])
def test_a_folder_of_somebody_else_is_not_replaced(result: Case, tmp_path: Path, content: str) -> None:
    folder = tmp_path / "neck"
    folder.mkdir()
    (folder / "report.json").write_text(content)
    (folder / "scan.nii.gz").write_text("precious")
    with pytest.raises(WouldReplaceError, match="not a result of SpinalCordSeg"):
        save_case(result, folder)
    assert _names(folder) == {"report.json", "scan.nii.gz"} and _names(tmp_path) == {"neck"}


def test_an_empty_folder_is_taken_and_a_file_is_not(result: Case, tmp_path: Path) -> None:
    (tmp_path / "neck").mkdir()
    save_case(result, tmp_path / "neck")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="in the way"):
        save_case(result, tmp_path / "file")
    with pytest.raises(OutputError, match="the name is too long"):
        save_case(result, tmp_path / ("x" * 231))


@pytest.mark.parametrize("what", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), KeyboardInterrupt()])
@pytest.mark.parametrize("earlier", [False, True])
def test_a_full_disk_or_a_cancel_leaves_nothing_half_written(result, tmp_path, monkeypatch, earlier, what) -> None:
    folder = tmp_path / "neck"
    if earlier:
        save_case(result, folder)
    before = {path: path.read_bytes() for path in folder.iterdir()} if earlier else {}

    def fail(*_: object) -> None:
        raise what

    monkeypatch.setattr(case_module, "write_json", fail)
    with pytest.raises((OutputError, KeyboardInterrupt)):
        save_case(result, folder)
    assert _names(tmp_path) == ({"neck"} if earlier else set())
    assert before == ({path: path.read_bytes() for path in folder.iterdir()} if earlier else {})


def test_a_replacement_refused_midway_puts_the_earlier_result_back(ai: Case, folder: Path, monkeypatch) -> None:
    replace_file, before = os.replace, (folder / "report.json").read_bytes()
    (folder / "my notes.txt").write_text("keep")

    def refuse_the_new_one(source, target):
        if target == folder and str(source).endswith(".part"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new_one)
    with pytest.raises(OutputError, match="no permission"):
        save_case(ai, folder)
    assert _names(folder.parent) == {"neck"} and _names(folder) == _FILES | {"my notes.txt"}
    assert (folder / "report.json").read_bytes() == before


def test_kill_minus_nine_at_any_moment_leaves_a_whole_case(folder: Path, work_until_killed) -> None:
    (folder / "my notes.txt").write_text("keep")
    case = Case.load(folder)
    case = replace(case, drawn=case.mask)
    for wait_s in np.random.default_rng(3).uniform(0.05, 0.15, 10):
        work_until_killed(lambda: save_case(case, folder), float(wait_s))
        save_case(case, folder)  # the dead program's lock holds up nobody
        assert is_as_measured(Case.load(folder)) and (folder / "my notes.txt").read_text() == "keep"


# One program at a time.


def test_a_lock_is_waited_for_and_reported(tmp_path: Path, monkeypatch) -> None:
    reported: list[str] = []
    monkeypatch.setattr(files, "report_waiting", [reported.append])
    monkeypatch.setattr(files, "_REPORT_AFTER_S", 0.0)
    with files.locked(tmp_path / "neck"):
        assert _names(tmp_path) == {".neck.lock"} and files.is_locked(tmp_path / "neck")
        with pytest.raises(OutputError, match="by another program"), files.locked(tmp_path / "neck", 0.1):
            pass
    assert reported == [f"waiting for {tmp_path / 'neck'}: another program changes it"]
    (tmp_path / ".neck.lock").touch()  # a killed program left its file
    assert not files.is_locked(tmp_path / "neck")
    with files.locked(tmp_path / "neck", 0.1):
        pass
    assert _names(tmp_path) == set()


def test_of_many_who_want_a_lock_one_has_it_at_a_time(tmp_path: Path) -> None:
    """The file is made and removed anew by each."""
    inside: list[int] = []

    def work(number: int) -> None:
        for _ in range(20):
            with files.locked(tmp_path / "neck"):
                inside.append(number)
                time.sleep(0.0005)
                assert inside == [number]
                inside.clear()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert _names(tmp_path) == set()


def test_a_disk_without_locks_is_no_reason_to_stop(tmp_path: Path, monkeypatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with files.locked(tmp_path / "neck"):
        pass


def test_a_replacement_that_is_under_way_is_left_to_its_program(folder: Path) -> None:
    hidden = folder.with_name(".neck.0123456789ab.old")
    with files.locked(folder):
        folder.rename(hidden)
        with pytest.raises(InputFileError):
            Case.load(folder)
        assert hidden.is_dir()
    assert Case.load(folder).name == "neck" and not hidden.exists()


def test_of_two_corrections_at_once_one_wins_and_the_other_is_told(folder: Path, ai: Case) -> None:
    read = [replace(Case.load(folder), drawn=read_mask(folder)) for _ in range(2)]
    mine, other = (replace(ai, mask_state="corrected", drawn=_edited(ai.mask, k)) for k in (3, 4))
    save_case(replace(mine, mask_sha256=mask_sha256(mine.mask)), folder, replaces=read[0])
    with pytest.raises(WouldReplaceError, match="changed by somebody else meanwhile"):
        save_case(other, folder, replaces=read[1])
    assert np.array_equal(Case.load(folder).mask.ijk, mine.mask.ijk)


def test_what_others_write_into_a_review_meanwhile_stays(folder: Path) -> None:
    threads = [
        threading.Thread(target=update_review, args=(folder, lambda review, k=k: with_seen(review, [k])))
        for k in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Case.load(folder).review.seen == tuple(range(8))


# What a person did is never replaced by the machine.


@pytest.mark.parametrize("name", ["mask.nrrd", "mask.seg.nrrd", "probability.nrrd"])
def test_a_persons_mask_beside_ours_is_kept(folder: Path, ai: Case, name: str) -> None:
    """Case 2."""
    write_volume(_edited(ai.mask), folder / name)
    before = (folder / name).read_bytes()
    save_case(ai, folder)
    assert (folder / name).read_bytes() == before
    assert np.array_equal(read_mask(folder).ijk, ai.mask.ijk), "ours is the case's"
    if name.startswith("mask"):
        with pytest.raises(WouldReplaceError, match="not of this case"):
            save_case(ai, folder, mask_format=name.removeprefix("mask."))
        assert (folder / name).read_bytes() == before


def test_a_decision_on_another_mask_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigurationError, match="another mask is there by now"):
        update_review(folder, lambda review: decided(review, ACCEPTED, "A"), decides_on="ab" * 32)
    assert Case.load(folder).review == Review()


def test_what_was_seen_of_a_mask_stays_seen_when_it_is_measured_again(tmp_path: Path) -> None:
    mask = make_phantom(CONFIG).mask
    write_volume(mask, tmp_path / "m.nii.gz")
    command, folder = ["measure", str(tmp_path / "m.nii.gz"), "--output", str(tmp_path / "out")], tmp_path / "out" / "m"
    assert main(command) == 0
    assert main(["review", str(folder), "--seen", "4", "--seen", "1", "--by", "A. Meyer"]) == 0
    assert main([*command, "--disc", "C2/C3=3"]) == 0
    case = Case.load(folder)
    assert case.levels is not None and case.review.seen == (1, 4)
    write_volume(_edited(mask), tmp_path / "m.nii.gz")
    assert main([*command, "--force"]) == 0
    assert Case.load(folder).review.seen == (), "another mask: nobody has seen it"


def test_finished_cases_that_are_measured_are_named_after_their_folders(tmp_path: Path, result: Case) -> None:
    """Case 34."""
    for name in ("p1", "p2"):
        save_case(result, tmp_path / "in" / name)
    assert main(["measure", str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 0
    assert {path.parent.name for path in (tmp_path / "out").glob("*/report.json")} == {"p1", "p2"}


# Versions of a mask: whole or not there, none written over, found after a kill -9.


NOON = datetime(2024, 1, 31, 12, 0, 0, tzinfo=timezone.utc)
GRID = np.array([[0, 0, -3.0, 5], [-0.5, 0, 0, 7], [0, 0.6, 0, -9], [0, 0, 0, 1]])


def _mask(number: int) -> Volume:
    """A different one for every number; the larger, the more voxels."""
    voxels = np.zeros((12, 11, 10), np.uint8)
    voxels.reshape(-1)[:number] = 1
    return Volume.from_ijk(voxels, GRID)


@pytest.fixture
def store(tmp_path: Path) -> MaskVersions:
    return MaskVersions(tmp_path / "versions", keep=3)


def test_versions_are_kept_and_read_back(store: MaskVersions) -> None:
    first = store.save(_mask(5), NOON)
    second = store.save(_mask(6), NOON, who="A. Meyer", state="corrected")
    assert [version.number for version in store.versions()] == [2, 1]
    assert first.path.name == f"v000001_20240131T120000Z_{mask_sha256(_mask(5))[:16]}.nii.gz"
    assert (first.maker(), second.maker()) == (("", ""), ("A. Meyer", "corrected"))
    back = second.read()
    assert np.array_equal(back.ijk, _mask(6).ijk != 0) and np.allclose(
        back.voxel_to_ras, _mask(6).voxel_to_ras, atol=1e-4
    )
    assert store.save(_mask(6)) is None  # nothing new
    assert store.save(_mask(6), state="corrected") is None
    assert store.save(_mask(6), who="B", state="accepted").number == 3
    assert store.save(_mask(5)).number == 4  # taken back: a version of its own


def test_the_oldest_go_and_strangers_stay(store: MaskVersions) -> None:
    store.place.mkdir(parents=True)
    (store.place / "v000001_notes.nii.gz").write_text("mine")
    for number in range(1, 8):
        store.save(_mask(number), state="corrected")
    assert [version.number for version in store.versions()] == [7, 6, 5]
    assert (store.place / "v000001_notes.nii.gz").read_text() == "mine"
    assert len(list(store.place.iterdir())) == 7  # three, who made them, and the stranger


def test_recovery_is_offered_only_for_work_that_is_nowhere_else(store: MaskVersions) -> None:
    assert store.recovery() is None
    store.save(_mask(5))
    found = store.recovery(mask_sha256(_mask(4)))
    assert found is not None and found.holds(mask_sha256(_mask(5)))
    assert store.recovery(mask_sha256(_mask(5))) is None  # the mask at hand is this one
    assert found.read().ijk.sum() == 5
    store.save(_mask(6))
    assert store.recovery().number == 2


def test_a_damaged_version_is_reported(store: MaskVersions) -> None:
    saved, other = store.save(_mask(5)), store.save(_mask(6))
    saved.path.write_bytes(other.path.read_bytes())
    with pytest.raises(InputFileError, match="take the version before"):
        saved.read()
    other.path.write_bytes(other.path.read_bytes()[:40])
    with pytest.raises(InputFileError):
        other.read()


def test_two_programs_never_write_over_each_other(store: MaskVersions, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(_mask(1))
    monkeypatch.setattr(MaskVersions, "versions", lambda self: ())  # sees none of the other program's
    again = store.save(_mask(2))
    monkeypatch.undo()
    assert again.number == 1
    assert sorted(version.read().ijk.sum() for version in store.versions()) == [1, 2]


@pytest.mark.skipif(os.name != "posix", reason="permissions as POSIX has them")
def test_what_cannot_be_written_is_refused(store: MaskVersions, tmp_path: Path) -> None:
    (tmp_path / "versions").write_text("a file")
    with pytest.raises(OutputError, match="cannot write"):
        store.save(_mask(1))
    with pytest.raises(ConfigurationError, match="at least 1"):
        MaskVersions(tmp_path, keep=0)


def test_kill_minus_nine_loses_nothing_that_was_saved(tmp_path: Path, work_until_killed) -> None:
    store = MaskVersions(tmp_path / "versions")
    (tmp_path / "saved").write_text("0")

    def work() -> None:
        number = len(store.versions()) + 1
        store.save(_mask(number))
        (tmp_path / "saved").write_text(str(number))

    for wait_s in np.random.default_rng(7).uniform(0.05, 0.1, 5):
        work_until_killed(work, float(wait_s))
        saved = [int(version.read().ijk.sum()) for version in store.versions()]  # each is whole
        assert saved == list(range(len(saved), 0, -1))
        assert len(saved) >= int((tmp_path / "saved").read_text() or 0)
