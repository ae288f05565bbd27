"""What the header told of an image stands in a corrected case, wherever the correction does not see that header."""

import numpy as np
import pytest

from SpinalCordSegLib.case import read_mask, read_result, read_slice_rows, store_correction
from SpinalCordSegLib.flags import kinds_from
from SpinalCordSegLib.image_io import read_image, write_json, write_volume

SPIN_ECHO = {
    "ContrastBolusAgent": "Gd", "ScanningSequence": "SE", "MRAcquisitionType": "2D", "EchoTime": 95.0,
    "RepetitionTime": 3000.0, "BodyPartExamined": "LSPINE", "SliceThickness": 1.5, "Manufacturer": "Maker",
    "ManufacturerModelName": "Model M", "AcquisitionDate": "20240131",
}  # fmt: skip
TOMOGRAPHY = {"Modality": "CT", "AcquisitionDate": "20240131"}


@pytest.fixture(params=[SPIN_ECHO, TOMOGRAPHY], ids=["T2w with agent", "no MR"])
def case(request, neck, tmp_path):
    """A finished case with much to be doubted in its header, its series, and the series without a header."""
    series = neck.write(tmp_path / "series", lambda _: request.param)
    folder = neck.finish(series, tmp_path / "results" / "neck")
    content = read_result(folder)
    content["input"]["acquisition_date"] = "20240131"  # as segment --keep-date leaves it
    write_json(folder / "report.json", content)
    write_volume(read_image(series).volume, tmp_path / "converted.nii.gz")
    return folder, series, tmp_path / "converted.nii.gz"


def _edited(folder):
    mask = read_mask(folder)
    voxels = mask.voxels.copy()
    voxels[:, :, 3] = np.roll(voxels[:, :, 3], 1, axis=0)
    return mask.with_voxels(voxels)


def _of_header(content):
    return {flag["kind"]: flag["message"] for flag in content["flags"] if flag["kind"] in kinds_from("header")}


@pytest.mark.parametrize("with_image", [False, True], ids=["no image", "image without header"])
def test_a_correction_that_sees_no_header_keeps_what_it_told(case, with_image) -> None:
    folder, _, converted = case
    before = read_result(folder)
    assert _of_header(before) and before["input"]["acquisition"]
    for _ in range(2):  # and the next one as the first did
        image = read_image(converted) if with_image else None
        after = store_correction(folder, _edited(folder), "A. Meyer", image=image)
        assert _of_header(after) == _of_header(before)
        assert after["input"] == before["input"]
        page = (folder / "report.html").read_text(encoding="utf-8")
        assert all(message.split(":")[0] in page for message in _of_header(before).values())


@pytest.mark.parametrize("with_image", [False, True], ids=["no image", "image without header"])
def test_the_images_numbers_stand_where_a_correction_sees_no_header(case, with_image) -> None:
    folder, _, converted = case
    before = {row["slice"]: row["instance_number"] for row in read_slice_rows(folder)}
    assert before == {str(k): str(100 - k) for k in range(1, 7)}
    mask = _edited(folder)
    mask.voxels[:, :, 6] = False
    image = read_image(converted) if with_image else None
    store_correction(folder, mask, "A. Meyer", image=image)
    after = {row["slice"]: row["instance_number"] for row in read_slice_rows(folder)}
    assert after == {k: number for k, number in before.items() if k != "6"}
    (folder / "slices.csv").write_text("slice,instance_number\nx,1\n3,-1\n4\n", encoding="utf-8")
    store_correction(folder, mask, "A. Meyer")
    assert {row["instance_number"] for row in read_slice_rows(folder)} == {""}


def test_a_correction_that_sees_the_header_judges_it_again(case) -> None:
    folder, series, _ = case
    content = read_result(folder)
    told = _of_header(content)
    for flag in content["flags"]:
        flag["message"] = "of an earlier version"
    content["flags"].append({"slice": None, "kind": "acquisition", "message": "of an earlier version"})
    del content["input"]["acquisition"]
    write_json(folder / "report.json", content)
    after = store_correction(folder, _edited(folder), image=read_image(series))
    assert _of_header(after) == told and after["input"]["acquisition"]
    assert after["input"]["acquisition_date"] == "20240131"


def test_what_only_the_image_can_tell_stands_without_one(case) -> None:
    folder, _, converted = case
    content = read_result(folder)
    content["flags"].append({"slice": None, "kind": "no_neck", "message": "the image ends below the top of the head"})
    write_json(folder / "report.json", content)
    without = store_correction(folder, _edited(folder))
    assert "no_neck" in {flag["kind"] for flag in without["flags"]}
    seen = store_correction(folder, _edited(folder), image=read_image(converted))
    assert "no_neck" not in {flag["kind"] for flag in seen["flags"]}
