"""Where discs lie along the cord: drawn ribbons and volumes whose answer is known, and one real neck."""

from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib import measure, pipeline
from SpinalCordSegLib.case import Case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.disc_finder import (
    ANTERIOR_MM,
    disc_posteriors,
    find_discs,
    straighten,
)
from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.image_io import Image, read_image, read_labels, write_volume
from SpinalCordSegLib.morphometry import centreline
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.vertebral_levels import LevelOptions
from SpinalCordSegLib.volume import Volume, place_on

_DISC_ROWS = np.array([100.0, 81.5, 63.0, 46.5, 31.0, 14.0])  # the template's distances


def _tilted_neck(voxel_mm: tuple[float, float, float], turned_deg: float = 0.0) -> tuple[Volume, Volume]:
    """A cord tilted by 15° towards anterior, and a bright plate square to it 40 mm along it from the scanner's origin;
    ``turned_deg``: of the grid about the right-left axis."""
    shape = np.array([30, 90, 100]) / voxel_mm
    i, j, k = np.indices(shape.round().astype(int))
    angle = np.radians(turned_deg)
    matrix = np.eye(4)
    matrix[:3, :3] = [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    matrix[:3, :3] *= voxel_mm
    matrix[:3, 3] = [-15, -45, -10]
    r, a, s = (matrix[row, 0] * i + matrix[row, 1] * j + matrix[row, 2] * k + matrix[row, 3] for row in range(3))
    tilt = np.radians(15)
    along, across = np.cos(tilt) * s + np.sin(tilt) * a, np.cos(tilt) * a - np.sin(tilt) * s
    image = np.exp(-0.5 * ((along - 40) / 2) ** 2).astype(np.float32)
    return Volume.from_ijk(image, matrix), Volume.from_ijk((r**2 + across**2 < 25).astype(np.uint8), matrix)


@pytest.mark.parametrize("orientation", ["RAS", "PSR", "LIP"])
@pytest.mark.parametrize(("voxel_mm", "turned_deg"), [((1, 1, 1), 0.0), ((0.5, 0.5, 4), 0.0), ((1, 1, 1.5), 12.0)])
def test_ribbon_runs_square_to_the_cord(
    orientation: str, voxel_mm: tuple[float, float, float], turned_deg: float
) -> None:
    image, mask = _tilted_neck(voxel_mm, turned_deg)
    line = centreline(mask.reoriented(orientation))
    ribbon = straighten(image.reoriented(orientation), line)
    expected_mm = line.nearest((0.0, 40 * np.sin(np.radians(15)), 40 * np.cos(np.radians(15))))[0]
    for anterior_mm in (-10.0, 0.0, 15.0):
        column = np.nan_to_num(ribbon.image[:, np.flatnonzero(anterior_mm == ANTERIOR_MM)[0]])
        found_mm = np.average(ribbon.arc_mm, weights=column * (column > 0.3))
        assert found_mm == pytest.approx(expected_mm, abs=0.6)


def _log_share(rows: np.ndarray, n: int = 130) -> np.ndarray:
    """Heatmaps with a bell on each row; NaN: not in the image."""
    share = np.full((6, n + 1), 1e-6)
    for one, row in zip(share, rows, strict=True):
        one[-1] = 1.0 if np.isnan(row) else 1e-3
        if np.isfinite(row):
            one[:n] += np.exp(-0.5 * ((np.arange(n) - row) / 1.5) ** 2)
    return np.log(share / share.sum(axis=1, keepdims=True))


def test_chain_finds_a_disc_that_the_network_misses() -> None:
    seen = _log_share(_DISC_ROWS)
    seen[2] = np.log(1 / seen.shape[1])
    assert disc_posteriors(seen).argmax(axis=1) == pytest.approx(_DISC_ROWS, abs=2)


def test_chain_overrules_a_disc_out_of_order() -> None:
    seen = _log_share(np.where(np.arange(6) == 1, 110.0, _DISC_ROWS))
    assert disc_posteriors(seen)[1].argmax() == pytest.approx(81.5, abs=3)


def test_chain_leaves_discs_outside_the_image() -> None:
    inside = disc_posteriors(_log_share(np.array([np.nan, 120.0, 101.5, 85, 69.5, 52.5]))).sum(axis=1)
    assert inside[0] < 0.1
    assert (inside[1:] > 0.9).all()


class TestShippedFinder:
    @pytest.fixture
    def neck(self, shared_data: Path) -> tuple[Volume, Volume]:
        folder = shared_data / "t1w_masked"
        image = read_image(folder / "sct-testing_T1w.nii.gz").volume
        return image, place_on(read_labels(folder / "sct-testing_T1w_seg-manual.nii.gz"), image)

    @pytest.mark.parametrize("orientation", ["RAS", "PSR", "LPI"])
    def test_real_neck(self, neck: tuple[Volume, Volume], orientation: str) -> None:
        image, mask = (one.reoriented(orientation) for one in neck)
        line = centreline(mask)
        found = find_discs(image, line)
        assert found.reason == ""
        marks = {3: (-7.9, 1.6, 33.4), 4: (-8.5, 2.0, 13.9), 5: (-8.5, 1.4, -2.1)}
        assert found.discs_mm == pytest.approx({n: line.nearest(at)[0] for n, at in marks.items()}, abs=3.0)

    @pytest.mark.parametrize("kept", [48, 40, 30])
    def test_cropped_below_c2_c3_is_left_open(self, neck: tuple[Volume, Volume], kept: int) -> None:
        upright = [one.reoriented("RAS") for one in neck]
        image, mask = (Volume.from_ijk(one.ijk[:, :, :kept], one.ijk_to_ras) for one in upright)
        found = find_discs(image, centreline(mask))
        assert not found.discs_mm
        assert found.reason

    @pytest.mark.parametrize("axis", [1, 2])
    def test_image_stored_front_to_back_or_upside_down_is_left_open(
        self, neck: tuple[Volume, Volume], axis: int
    ) -> None:
        upright = [one.reoriented("RAS") for one in neck]
        image, mask = (one.with_ijk(np.flip(one.ijk, axis)) for one in upright)
        found = find_discs(image, centreline(mask))
        assert not found.discs_mm
        assert found.reason

    def test_short_cord_is_left_open(self, neck: tuple[Volume, Volume]) -> None:
        image, mask = neck
        few = mask.with_voxels(mask.voxels * (np.arange(len(mask.voxels)) < 8)[:, None, None])
        assert "cord" in find_discs(image, centreline(few)).reason

    def test_noise_is_left_open(self) -> None:
        line = centreline(_tilted_neck((1.0, 1.0, 1.0))[1])
        noise = np.random.default_rng(0).normal(100, 10, (30, 90, 100)).astype(np.float32)
        image = _tilted_neck((1.0, 1.0, 1.0))[0]
        assert not find_discs(image.with_ijk(noise), line).discs_mm
        assert not find_discs(image.with_ijk(np.zeros_like(noise)), line).discs_mm

    def test_found_disc_is_measured_and_named_automatic(self, shared_data: Path) -> None:
        folder = shared_data / "t1w_masked"
        case = measure(folder / "sct-testing_T1w_seg-manual.nii.gz", folder / "sct-testing_T1w.nii.gz")
        assert case.levels is not None
        assert {row.name for row in case.levels.rows} == {"C1", "C2", "C3", "C4", "C2-C3"}
        assert case.levels_asked is not None
        assert case.levels_asked.automatic
        assert any(flag.kind == "levels" and "found" in str(flag) for flag in case.flags)
        row = case.summary_row()
        assert row["c2_c3_mean_csa_mm2"] == pytest.approx(
            next(one.mean_csa_mm2 for one in case.levels.rows if one.name == "C2-C3"), abs=1e-3
        )
        assert (row["c2_c3_coverage"], row["disc"]) == (1.0, "found")
        assert measure(folder / "sct-testing_T1w_seg-manual.nii.gz").levels is None

    def test_why_no_disc_was_found_is_in_report_and_terminal(
        self, neck: tuple[Volume, Volume], tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        upright = [one.reoriented("RAS") for one in neck]
        image, mask = (Volume.from_ijk(one.ijk[:, :, :40], one.ijk_to_ras) for one in upright)
        write_volume(image, tmp_path / "image.nii.gz")
        write_volume(mask.with_voxels((mask.voxels > 0).astype(np.uint8)), tmp_path / "mask.nii.gz")
        command = ["measure", str(tmp_path / "mask.nii.gz"), "--output", str(tmp_path / "out"), "--age", "40"]
        assert main([*command, "--sex", "male", "--image", str(tmp_path / "image.nii.gz")]) == 0
        shown = "".join(capsys.readouterr())
        case = Case.load(tmp_path / "out" / "mask")
        assert case.levels is not None
        assert f"no vertebral level: {case.levels.reason}" in shown
        assert "mark the disc C2/C3" in case.levels.reason
        assert case.levels.norm is not None
        assert case.summary_row()["disc"] is None
        assert case.levels.reason in (tmp_path / "out" / "mask" / "report.html").read_text()

    def test_found_discs_are_compared_and_named_until_the_case_is_accepted(self, neck: tuple[Volume, Volume]) -> None:
        image = Image(neck[0], Path("neck.nii.gz"), "neck")
        options = LevelOptions(find=True, age_years=40, sex="male", declared=("t1w", "corrected-3d"))
        case = measure_mask(neck[1].with_voxels(neck[1].voxels > 0), "neck", image=image, levels=options)
        assert case.levels is not None
        assert case.levels.norm is not None
        assert case.levels.norm["text"].endswith("found by the program")

    def test_without_onnx_runtime_the_report_names_it(
        self, neck: tuple[Volume, Volume], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def missing(*_: object) -> None:
            raise MissingPackageError("ONNX Runtime cannot be loaded")

        monkeypatch.setattr(pipeline, "find_discs", missing)
        image = Image(neck[0], Path("neck.nii.gz"), "neck")
        mask = neck[1].with_voxels(neck[1].voxels > 0)
        case = measure_mask(mask, "neck", image=image, levels=LevelOptions(find=True))
        assert case.levels is not None
        assert "ONNX Runtime" in case.levels.reason
