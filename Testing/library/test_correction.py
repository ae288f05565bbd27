"""A mask corrected in its case: stored and measured anew, drawn anew between good slices, smoothed, asked again."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from threshold_model import neck_image, write_threshold_model

from SpinalCordSegLib.case import Case, save_case
from SpinalCordSegLib.case_folder import AI_MASK, read_backdrop, read_mask, versions
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.correction import fill_between, rerun_slices, smooth_along_cord, store_correction
from SpinalCordSegLib.errors import ConfigurationError, GeometryError, InputFileError
from SpinalCordSegLib.flags import Flag, case_flag, kinds_from
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.metrics import mask_changes
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.review import CORRECTED
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions
from SpinalCordSegLib.volume import Volume, mask_sha256

# A correction in its case.

SPIN_ECHO = {
    "ContrastBolusAgent": "Gd", "ScanningSequence": "SE", "MRAcquisitionType": "2D", "EchoTime": 95.0,
    "RepetitionTime": 3000.0, "BodyPartExamined": "LSPINE", "SliceThickness": 1.5, "Manufacturer": "Maker",
    "ManufacturerModelName": "Model M", "AcquisitionDate": "20240131",
}  # fmt: skip


@pytest.fixture
def case(neck, tmp_path):
    """The folder of a network's case on a DICOM series, and that series."""
    series = neck.write(tmp_path / "series")
    return neck.finish(series, tmp_path / "results" / "neck"), series


def _edited(mask: Volume, k: int = 3) -> Volume:
    voxels = mask.ijk.copy()
    voxels[:, :, k] = np.roll(voxels[:, :, k], 2, axis=0)
    return mask.with_ijk(voxels)


def _change(folder: Path, **fields) -> Case:
    """The case in ``folder`` as if it had been segmented with these."""
    case = Case.load(folder)
    return save_case(replace(case, drawn=case.mask, **fields), folder, replaces=case)


def test_a_correction_is_measured_and_the_ais_mask_stays(case) -> None:
    folder, series = case
    ai, original = read_mask(folder), (folder / "mask.nii.gz").read_bytes()
    mine = _edited(ai)
    mine.ijk[:, :, 6] = False
    first = store_correction(folder, mine, "C. Ruiz", image=read_image(series))
    assert (first.mask_state, first.review.state, first.review.who) == ("corrected", CORRECTED, "C. Ruiz")
    assert [one.slice for one in first.changes.slices] == [3, 6]
    assert first.volume_mm3 == pytest.approx(mine.ijk.sum() * ai.voxel_volume_mm3, abs=0.01)
    assert np.array_equal(Case.load(folder).mask.ijk, mine.ijk)
    assert next(folder.glob("mask_ai.*")).read_bytes() == original
    again = store_correction(folder, ai)  # taken back by hand; neither image nor name this time (case 36)
    assert again.changes.slices == () and again.changes.dice == 1
    assert (again.mask_state, again.model) == ("corrected", first.model)
    assert again.contrast == first.contrast != ""
    assert again.as_json()["input"] == first.as_json()["input"]
    assert again.review.who == "C. Ruiz"
    grey = read_backdrop(folder, ai)
    shown = read_image(series).volume.ijk
    assert np.corrcoef(grey.ijk.ravel(), shown.ravel())[0, 1] > 0.99, "the pictures stay"
    for damaged in (b"PK damaged", b""):
        (folder / "pictures.npz").write_bytes(damaged)
        assert read_backdrop(folder, ai) is None
    assert mask_sha256(read_mask(folder, AI_MASK)) == again.changes.ai_sha256 == mask_sha256(ai)
    assert "corrected by a person" in (folder / "report.html").read_text(encoding="utf-8")


def test_every_mask_that_a_person_made_is_kept(case) -> None:
    """Case 3: A corrects, then B, then somebody saves over the mask, and C corrects that."""
    folder, _ = case
    ai = read_mask(folder)
    masks = [_edited(ai, k) for k in (2, 3, 4, 5)]
    store_correction(folder, masks[0], "A")
    store_correction(folder, masks[1], "B")
    write_volume(masks[2], folder / "mask.nii.gz")
    store_correction(folder, masks[3], "C")
    kept = versions(folder).versions()
    assert [one.holds(mask_sha256(mask)) for one, mask in zip(kept, masks[::-1], strict=True)] == [True] * 4
    assert [one.maker()[0] for one in kept] == ["C", "", "B", "A"]
    assert np.array_equal(read_mask(folder, AI_MASK).ijk, ai.ijk)


def test_what_the_network_doubted_stands_where_nobody_edited(case) -> None:
    folder, _ = case
    flagged = [(2, "low_confidence"), (3, "low_confidence"), (3, "unclear_edge"), (4, "unclear_edge"), (0, "cord_end")]
    flags = tuple(Flag(k, k, kind, "of the network") for k, kind in flagged)
    flags += (case_flag("device", "memory ran out"), case_flag("contrast", "the fluid is bright"))
    before = _change(folder, flags=flags)
    after = store_correction(folder, _edited(before.mask))
    found = {(flag.slice, flag.kind) for flag in after.flags}
    assert {(2, "low_confidence"), (4, "unclear_edge"), (0, "cord_end"), (None, "device")} <= found
    assert not {(3, "low_confidence"), (3, "unclear_edge")} & found
    assert (None, "contrast") in found, "only the image can say"
    assert after.slices.flags[after.slices.row_of(2)].split().count("low_confidence") == 1


def test_what_network_and_image_said_stands_where_nobody_edited(case) -> None:
    folder, _ = case
    before = Case.load(folder).slices
    imputed = np.isin(before.canonical_slice, [1, 3]).astype(np.int64)
    pixels = before.csa_raw_mm2
    _change(folder, slices=replace(before, network_area_mm2=0.9 * pixels, imputed=imputed))
    mine = _edited(read_mask(folder))
    for _ in range(2):  # a second correction leaves them as the first did
        store_correction(folder, mine)
        case = Case.load(folder)
        after, edited = case.slices, case.slices.canonical_slice == 3
        assert np.isnan(after.network_area_mm2[edited]).all() and after.canonical_slice[after.is_imputed].tolist() == [
            1
        ]
        assert (after.network_area_mm2 / pixels)[~edited] == pytest.approx(0.9, rel=1e-3)
        from_contour = ~edited & ~after.is_imputed
        assert (after.csa_raw_mm2 / pixels)[from_contour] == pytest.approx(0.9, rel=1e-3)
        assert after.csa_raw_mm2[after.is_imputed] == pytest.approx(pixels[after.is_imputed]) and case.n_imputed == 1


def test_marked_discs_survive_a_correction(tmp_path) -> None:
    x, y, z = np.ogrid[:30, :30, :60]
    mask = Volume.from_ijk(np.hypot(x - 15, y - 15) + 0 * z <= 6, np.diag([0.8, 0.8, 1.0, 1.0]))
    write_volume(mask, tmp_path / "m.nii.gz")
    main(["measure", str(tmp_path / "m.nii.gz"), "--output", str(tmp_path / "out"), "--disc", "C2/C3=30"])
    folder = tmp_path / "out" / "m"
    before = Case.load(folder)
    assert before.summary_row()["disc"] == "marked"
    voxels = mask.ijk.copy()
    voxels[:, :, 34] = False
    after = store_correction(folder, mask.with_ijk(voxels), "C")
    assert [row.name for row in after.levels.rows] == [row.name for row in before.levels.rows] != []
    assert (after.mask_state, after.review.state) == ("given", CORRECTED)
    assert read_mask(folder, "mask_given").ijk[:, :, 34].any()


def _measured(tmp_path: Path, *options: str) -> tuple[Volume, Path]:
    """A straight mask of 40 slices of 1 mm, and the folder of its case."""
    mask = Volume.from_ijk(np.pad(np.ones((12, 9, 40), bool), ((2, 2), (2, 2), (0, 0))), np.diag([0.8, 0.8, 1.0, 1.0]))
    write_volume(mask, tmp_path / "m.nii.gz")
    assert main(["measure", str(tmp_path / "m.nii.gz"), "--output", str(tmp_path / "out"), "--force", *options]) == 0
    return mask, tmp_path / "out" / "m"


def test_found_discs_stay_unconfirmed_beside_a_mark(tmp_path) -> None:
    _, folder = _measured(tmp_path, "--around", "5")
    command = ["correct", str(folder), str(tmp_path / "m.nii.gz"), "--disc", "C2/C3=34"]
    main([*command, "--found", "C3/C4=16"])
    case = Case.load(folder)
    assert list(case.levels.discs_mm) == ["C2/C3", "C3/C4"]
    assert case.discs_from == "found, not confirmed"
    assert [mark.by_person for mark in case.levels_asked.discs] == [True, False]
    assert case.slices.pam50_slice[25] == pytest.approx(907.5 - 37 / 2)
    main(command)
    assert Case.load(folder).discs_from == "marked"
    main([*command[:3], "--disc", ""])  # all of them deleted: none of the case's own comes back
    assert Case.load(folder).levels is None and Case.load(folder).levels_asked is None


def test_the_reason_without_levels_survives_a_correction(tmp_path) -> None:
    mask, folder = _measured(tmp_path, "--around", "5")
    before = Case.load(folder).levels.reason
    assert before
    assert store_correction(folder, mask).levels.reason == before


def test_a_correction_says_that_it_is_not_compared_with_healthy_adults(tmp_path) -> None:
    for person, said in ((["--age", "47", "--sex", "male"], "age and sex are not kept"), ([], "")):
        mask, folder = _measured(tmp_path, "--disc", "C2/C3=20", *person)
        for levels in (None, LevelOptions((DiscMark(3, slice=21),))):
            norm = store_correction(folder, mask, levels=levels).levels.norm
            assert said in norm["text"] and "47" not in norm["text"] if said else norm is None
        shutil.rmtree(folder)


# What a header said stands in a corrected case, wherever the correction does not see that header.


@pytest.fixture
def doubtful(neck, tmp_path):
    """A case with much to be doubted in its header, its series, and the series without a header."""
    series = neck.write(tmp_path / "series", lambda _: SPIN_ECHO)
    folder = neck.finish(series, tmp_path / "results" / "neck")
    case = Case.load(folder)
    _change(folder, input=replace(case.input, acquisition_date="20240131"))  # as segment --keep-date leaves it
    write_volume(read_image(series).volume, tmp_path / "converted.nii.gz")
    return folder, series, tmp_path / "converted.nii.gz"


def _of_header(case: Case) -> dict[str, str]:
    return {flag.kind: flag.message for flag in case.flags if flag.kind in kinds_from("header")}


@pytest.mark.parametrize("with_image", [False, True], ids=["no image", "image without header"])
def test_a_correction_that_sees_no_header_keeps_what_it_said(doubtful, with_image) -> None:
    folder, _, converted = doubtful
    before = Case.load(folder)
    assert _of_header(before) and before.input.acquisition
    assert before.slices.instance_number.tolist() == [100 - k for k in range(1, 7)]
    mine = _edited(before.mask)
    mine.ijk[:, :, 6] = False
    for _ in range(2):  # and the next one as the first did
        after = store_correction(folder, mine, "A", image=read_image(converted) if with_image else None)
        assert _of_header(after) == _of_header(before) and after.input == before.input
        assert after.slices.instance_number.tolist() == [100 - k for k in range(1, 6)]


def test_a_correction_that_sees_the_header_judges_it_again(doubtful) -> None:
    folder, series, _ = doubtful
    before = Case.load(folder)
    old = tuple(replace(flag, message="of an earlier version") for flag in before.flags)
    old += (case_flag("acquisition", "of an earlier version"), case_flag("contrast", "of an earlier version"))
    _change(folder, flags=old, input=replace(before.input, acquisition=None))
    after = store_correction(folder, _edited(before.mask), image=read_image(series))
    assert _of_header(after) == _of_header(before) and after.input.acquisition
    assert after.input.acquisition_date == "20240131"
    assert "contrast" not in {flag.kind for flag in after.flags}


# From the command line.


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return write_threshold_model(tmp_path_factory.mktemp("model") / "threshold.safetensors")


@pytest.fixture(scope="module")
def segmented(model, tmp_path_factory):
    """A neck, segmented; a bright bar crosses its slice 10, as sure as the cord."""
    folder = tmp_path_factory.mktemp("neck")
    image = neck_image(np.diag([-0.8, 0.9, 4.0, 1.0]))  # stored from left to right; not smoothed along the cord
    image.ijk[30:46, 26:31, 10] = 900
    write_volume(image, folder / "in" / "b.nii.gz")
    assert main(["segment", str(folder / "in"), "--model", str(model), "--output", str(folder / "out")]) == 0
    return folder


@pytest.fixture
def results(segmented, tmp_path):
    """A copy to work on, beside the image."""
    shutil.copytree(segmented, tmp_path, dirs_exist_ok=True)
    return tmp_path / "out"


def test_a_slice_is_corrected_in_every_way(results, model, tmp_path, capsys) -> None:
    folder, image = results / "b", tmp_path / "in" / "b.nii.gz"
    ai = read_mask(folder)
    assert main(["correct", str(folder), "--disc", "C2/C3=10"]) == 2  # nobody corrected it
    assert Case.load(folder).mask_state == "AI" and "segment" in capsys.readouterr().err
    assert main(["correct", str(folder), "--fill", "9:11", "--by", "C"]) == 0
    assert "1 slice changed" in capsys.readouterr().out
    filled = read_mask(folder).ijk
    assert 55 <= filled[:, :, 10].sum() <= 70 < ai.ijk[:, :, 10].sum()
    content = Case.load(folder)
    assert f"b,done,,in/b.nii.gz,{content.volume_mm3}," in (results / "summary.csv").read_text(encoding="utf-8")
    assert content.mask_state == "corrected" and content.review.who == "C"
    assert main(["correct", str(folder), "--smooth", "8:12"]) == 0
    assert main(["correct", str(folder), "--rerun", "10:11", "--image", str(image), "--model", str(model)]) == 0
    assert np.array_equal(read_mask(folder).ijk[:, :, 10], ai.ijk[:, :, 10])
    write_volume(ai.with_ijk(filled.astype(np.uint8) * 3), tmp_path / "mine.nrrd")
    assert main(["correct", str(folder), str(tmp_path / "mine.nrrd"), "--image", str(image)]) == 0
    assert np.array_equal(read_mask(folder).ijk, filled)
    assert np.array_equal(read_mask(folder, AI_MASK).ijk, ai.ijk)
    assert main(["segment", str(image), "--model", str(model), "--output", str(results), "--force"]) == 2
    assert "never replaced by the machine" in capsys.readouterr().err
    assert main(["correct", str(folder)]) == 2
    assert main(["correct", str(folder), "--disc", "C2/C3=10", "--by", "C"]) == 0
    assert Case.load(folder).levels.discs_mm.keys() == {"C2/C3"} and np.array_equal(read_mask(folder).ijk, filled)


def test_a_table_that_was_changed_is_made_anew(results, tmp_path, capsys) -> None:
    """The network's areas are in slices.csv alone: a person's case has those of the mask's pixels then."""
    folder = results / "b"
    table, page = folder / "slices.csv", folder / "report.html"

    def advice() -> str:
        table.write_text(table.read_text() + "\n")
        with pytest.raises(InputFileError) as error:
            Case.load(folder)
        return str(error.value).partition("anew")[2]

    shown = page.read_text()
    assert f"segment IMAGE --output {results} --force" in advice() and "correct" not in advice()
    assert main(["review", str(folder), "--accept", "--by", "A"]) == 0
    assert page.read_text() == shown, "the page keeps its table"
    assert "segment IMAGE" not in (said := advice()) and "--reopen" in said and "mask's pixels" in said
    capsys.readouterr()
    table.write_bytes(b"\xff\xfe\x00")
    words = ["correct", str(folder), str(folder / "mask.nii.gz"), "--by", "A", "--reopen"]
    assert main(words) == 0 and "mask's pixels" in "".join(capsys.readouterr())
    measured = Case.load(folder)
    assert (measured.mask_state, len(measured.changes.slices)) == ("corrected", 0)
    assert np.isnan(measured.slices.network_area_mm2).all()
    pixels = read_mask(folder).ijk.sum(axis=(0, 1)) * 0.8 * 0.9
    assert measured.slices.csa_raw_mm2 == pytest.approx(pixels[measured.slices.slice], abs=0.001)


def test_a_second_look_uses_what_the_case_was_segmented_with(model, tmp_path, monkeypatch, capsys) -> None:
    """Threshold, averaging and model of the case's report, and the corrected report states them still."""
    image = neck_image(np.diag([-0.8, 0.9, 1.0, 1.0]))
    image.ijk[:, :, 11] = 40  # by itself no cord; averaged with its neighbours there would be one
    write_volume(image, tmp_path / "thin.nii.gz")
    own, case = ["--threshold", "0.4", "--smooth-z", "0"], tmp_path / "out" / "thin"
    command = ["segment", str(tmp_path / "thin.nii.gz"), "--model", str(model), "--output", str(tmp_path / "out")]
    assert main([*command, *own]) == 0
    ai = read_mask(case).ijk
    assert not ai[:, :, 11].any() and ai[:, :, 10].any()
    again = ["correct", str(case), "--rerun", "9:13", "--image", str(tmp_path / "thin.nii.gz")]
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(tmp_path))
    assert main(again) == 2
    assert "not among the models here: name its weights file by --model" in capsys.readouterr().err
    monkeypatch.setenv("SPINALCORDSEG_MODELS", str(model.parent))
    assert main(again) == 0
    assert np.array_equal(read_mask(case).ijk, ai)
    content = Case.load(case)
    assert (content.threshold, content.smooth_z_mm, content.mask_state) == (0.4, 0, "corrected")


def test_what_cannot_be_corrected_is_said_in_a_line(results, capsys) -> None:
    for arguments, words in (
        (["{out}", "--fill", "1:5"], "holds no"),
        (["{out}/b", "--fill", "5:5"], "FIRST < END"),
        (["{out}/b", "--rerun", "5:6"], "needs the image"),
        (["{out}/b", "--smooth", "5:60"], "does not fit 24 slices"),
    ):
        assert main(["correct", *(word.format(out=results) for word in arguments)]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1


# Slices drawn anew.


SHAPE, SPACING = (60, 50, 15), (0.5, 0.6, 2.0)
ORDERS = [("RAS", (0, 1, 2), (1, 1, 1)), ("PSL", (1, 2, 0), (-1, 1, -1)), ("IRP", (2, 0, 1), (-1, 1, -1))]


def _volume(canonical: np.ndarray, order: tuple[int, ...] = (0, 1, 2), signs: tuple[int, ...] = (1, 1, 1)) -> Volume:
    matrix = np.eye(4)
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        matrix[:3, column] = 0
        matrix[axis, column] = sign * SPACING[axis]
    like = Volume.from_ijk(np.broadcast_to(np.False_, tuple(SHAPE[axis] for axis in order)), matrix)
    return like.with_voxels(like.reoriented("RAS").with_ijk(canonical).voxels)


def _cone(first_mm: float = 8.0, last_mm: float = 5.0, lean: float = 0.3) -> np.ndarray:
    """A round cord that narrows steadily from the lowest slice to the uppermost and leans backwards."""
    x, y, z = (np.arange(n) * s for n, s in zip(SHAPE, SPACING, strict=True))
    radius = np.linspace(first_mm, last_mm, SHAPE[2])
    return np.hypot(x[:, None, None] - 15, y[None, :, None] - 18 + lean * z) <= radius


@pytest.mark.parametrize(("name", "order", "signs"), ORDERS)
def test_a_gap_is_filled_as_the_cord_goes_on(name: str, order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    truth = _cone()
    spoilt = truth.copy()
    spoilt[:, :, 5:9] = False
    spoilt[2:9, 2:9, 6] = True  # what stood there is no part of the answer
    filled = fill_between(_volume(spoilt, order, signs), 4, 9).reoriented("RAS").ijk
    assert np.array_equal(filled[:, :, [*range(5), *range(9, 15)]], truth[:, :, [*range(5), *range(9, 15)]])
    for k in range(5, 9):
        both = np.count_nonzero(filled[:, :, k] & truth[:, :, k])
        assert 2 * both / (filled[:, :, k].sum() + truth[:, :, k].sum()) > 0.97
        assert filled[:, :, k].sum() == pytest.approx(truth[:, :, k].sum(), rel=0.03)


def test_what_cannot_be_filled_is_said() -> None:
    gap = _cone()
    gap[:, :, 4] = False
    nothing, no_cord = "nothing to fill", "has no cord"
    for voxels, ends, words in (
        (_cone(), (4, 5), nothing), (_cone(), (9, 4), nothing), (_cone(), (-1, 4), nothing),
        (_cone(), (4, 15), nothing), (gap, (4, 9), no_cord), (0 * gap, (4, 9), no_cord),
    ):  # fmt: skip
        with pytest.raises(ConfigurationError, match=words):
            fill_between(_volume(voxels), *ends)


@pytest.mark.parametrize(("name", "order", "signs"), ORDERS)
def test_a_jagged_cord_becomes_even_and_keeps_its_volume(name: str, order: tuple, signs: tuple) -> None:
    truth = _cone(7.0, 7.0)
    jagged = truth.copy()
    for k in range(SHAPE[2]):
        jagged[:, :, k] = np.roll(_cone(7.0 + (-1) ** k * 0.8, 7.0 + (-1) ** k * 0.8)[:, :, k], (-1) ** k, axis=0)
    even = smooth_along_cord(_volume(jagged, order, signs), reach_mm=4.0).reoriented("RAS").ijk
    before, after = (np.diff(v.sum(axis=(0, 1))).astype(float) for v in (jagged, even))
    assert np.abs(after).max() < 0.15 * np.abs(before).max()
    inner = slice(2, -3)  # as many wide slices as narrow ones
    assert even[:, :, inner].sum() == pytest.approx(jagged[:, :, inner].sum(), rel=0.01)
    overlap = 2 * (even & truth)[:, :, inner].sum() / (even.sum(axis=(0, 1)) + truth.sum(axis=(0, 1)))[inner].sum()
    assert overlap > 0.96


def test_only_the_range_is_smoothed_and_gaps_stay() -> None:
    voxels = _cone()
    voxels[10:14, 20:40, 7] = True
    voxels[:, :, 9] = False
    before = _volume(voxels)
    after = smooth_along_cord(before, (6, 11))
    changed = set(np.flatnonzero((after.ijk != before.ijk).any(axis=(0, 1))).tolist())
    assert 7 in changed and changed <= {6, 7, 8, 10} and not after.ijk[:, :, 9].any()
    assert smooth_along_cord(_volume(np.zeros(SHAPE, bool))).ijk.sum() == 0
    with pytest.raises(ConfigurationError, match="do not fit"):
        smooth_along_cord(before, (3, 16))


def test_what_changed_is_counted_on_every_orientation() -> None:
    for _, order, signs in ORDERS:
        ai, voxels = _volume(_cone(), order, signs), _cone()
        voxels[30:34, 25:30, 3] = False  # 20 pixels of 0.3 mm² out of the middle
        voxels[:, :, 8] = False
        changes = mask_changes(_volume(voxels, order, signs), ai)
        third, eighth = changes.slices
        assert (third.canonical_slice, eighth.canonical_slice) == (3, 8)
        assert (third.slice, eighth.slice) == ((3, 8) if signs[order.index(2)] > 0 else (11, 6))
        assert third.removed_mm2 == pytest.approx(6.0) and third.added_mm2 == 0
        assert (eighth.now_mm2, eighth.dice) == (0, 0)
        gone = eighth.ai_mm2 * 2.0 + 12.0
        assert changes.removed_mm3 == pytest.approx(gone) and changes.added_mm3 == 0
        assert changes.dice == pytest.approx(2 * voxels.sum() / (voxels.sum() + _cone().sum()))
        assert changes.sha256 != changes.ai_sha256 == mask_sha256(ai)
    assert mask_changes(ai, ai).slices == () and mask_changes(ai, ai).dice == 1


def test_the_fingerprint_is_of_the_voxels_on_their_grid() -> None:
    mask = _volume(_cone())
    packed = np.packbits(np.ascontiguousarray(_cone())).tobytes()
    assert mask_sha256(mask) == hashlib.sha256(b"(60, 50, 15)" + packed).hexdigest()
    assert mask_sha256(mask.with_ijk(np.asfortranarray(_cone()))) == mask_sha256(mask)
    assert mask_sha256(mask) == mask_sha256(mask.with_ijk(mask.ijk.astype(np.uint8) * 7))
    assert mask_sha256(mask) != mask_sha256(_volume(_cone(), (1, 2, 0)))
    with pytest.raises(GeometryError, match="another grid"):
        mask_changes(mask, Volume.from_ijk(_cone(), np.eye(4)))


@pytest.fixture(scope="module")
def bright(model: Path):
    """A network that takes what is bright for cord."""
    return load_checkpoint(model)


@pytest.mark.parametrize("storage", [(0, 1, 2), (2, 0, 1)])
def test_the_network_is_asked_again_about_the_range_only(bright, storage: tuple[int, int, int]) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]), storage)
    good = image.reoriented("RAS").ijk > 500
    spoilt = good.copy()
    spoilt[:, :, 8:12] = False
    spoilt[3:12, 3:12, 8:16] = True  # the slices after the range are a person's own, right or wrong
    mask = image.with_voxels(image.reoriented("RAS").with_ijk(spoilt).voxels)
    again = rerun_slices(image, mask, bright, (8, 12), device="cpu")
    expected = spoilt.copy()
    expected[:, :, 8:12] = good[:, :, 8:12]
    assert np.array_equal(again.reoriented("RAS").ijk, expected)
    assert np.allclose(again.voxel_to_ras, image.voxel_to_ras, atol=1e-4) and mask.ijk.sum() == spoilt.sum()


def test_of_two_bright_regions_the_one_beside_the_neighbours_cord_is_taken(bright) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]))
    voxels, cord = image.ijk.copy(), image.ijk > 500
    voxels[44:58, 40:54, 10] = 900  # a larger bright thing in the slice that is asked again
    mask = image.with_ijk(cord & (np.arange(24) != 10))
    again = rerun_slices(image.with_ijk(voxels), mask, bright, (10, 11), device="cpu")
    assert np.array_equal(again.ijk, cord)


def test_where_the_edge_is_not_seen_the_area_follows_the_persons_slices(bright) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]))
    cord = image.ijk > 500
    voxels = image.ijk.copy()
    for k in range(9, 12):  # round the cord a wide band that the network takes for cord, hardly brighter than the rest
        voxels[12:50, 10:46, k] = 440
        voxels[2:12, 2:12, k] = 900  # something bright elsewhere
        for rim in (3, 2, 1):
            voxels[30 - 4 - rim : 30 + 5 + rim, 28 - 3 - rim : 28 + 4 + rim, k] = 525 - 10 * rim
    voxels[cord] = 900
    voxels[:, :, 9:12][cord[:, :, 9:12]] = 560
    mask = image.with_ijk(cord)
    alone, imputed = (
        rerun_slices(image.with_ijk(voxels), mask, bright, (9, 12), smooth_z_mm=smooth_z_mm, device="cpu").ijk
        for smooth_z_mm in (0, 1.6)
    )
    true, around = cord[:, :, 9:12].sum(axis=(0, 1)), np.r_[:9, 12:24]
    assert (alone[:, :, 9:12].sum(axis=(0, 1)) > 1.3 * true).all()
    assert imputed[:, :, 9:12].sum(axis=(0, 1)) == pytest.approx(true, rel=0.1)
    assert np.array_equal(imputed[:, :, around], cord[:, :, around])


def test_a_slice_without_an_answer_becomes_empty_and_misfits_are_refused(bright) -> None:
    image = neck_image(np.diag([0.8, -0.9, 3.0, 1.0]))
    mask = image.with_ijk(image.ijk > 500)
    dark = image.ijk.copy()
    dark[:, :, 5] = 40
    assert not rerun_slices(image.with_ijk(dark), mask, bright, (5, 6), device="cpu").ijk[:, :, 5].any()
    with pytest.raises(ConfigurationError, match="do not fit"):
        rerun_slices(image, mask, bright, (20, 30))
    with pytest.raises(GeometryError, match="another grid"):
        rerun_slices(Volume.from_ijk(image.ijk, np.eye(4)), mask, bright, (5, 6))
