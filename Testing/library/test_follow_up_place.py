"""Where positions along the cord count from in a follow-up, and that a stretch in mm from the disc is just that."""

import csv
import json

import numpy as np
import pytest

from SpinalCordSegLib.cli import main
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.longitudinal import registration
from SpinalCordSegLib.longitudinal.registration import Registration
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.volume import Volume

MOVED_MM = 7.0  # along S, from each visit to the next
DISC_RAS = (2.0, -20.0, 20.0)
N = 3


@pytest.fixture(scope="module")
def necks(tmp_path_factory):
    """Three visits of a neck whose area is not the same everywhere, with their images; no disc is marked."""
    folder = tmp_path_factory.mktemp("visits")
    neck = make_phantom(PhantomConfig(shape=(52, 44, 20), spacing_mm=(0.5, 0.6, 3.0), enlargement=0.3))
    for n in range(N):
        matrix = neck.mask.ijk_to_ras.copy()
        matrix[2, 3] += MOVED_MM * n
        write_volume(Volume(neck.mask.voxels, matrix), folder / f"visit{n}.nii.gz")
        write_volume(Volume(neck.image.voxels, matrix), folder / f"image{n}.nii.gz")
        assert main(["measure", str(folder / f"visit{n}.nii.gz"), "--output", str(folder)]) == 0
    return folder


@pytest.fixture
def track(necks, tmp_path, monkeypatch):
    """Runs the command with these visits' discs marked, and the images where ``by_images``; gives the folder it wrote.
    Registration itself is not what is tested: it finds how far the neck was moved."""

    def moved(fixed, fixed_mask, moving, moving_mask):
        motion = np.eye(4)
        motion[2, 3] = moving.ijk_to_ras[2, 3] - fixed.ijk_to_ras[2, 3]
        return Registration(motion, 1.0, ambiguous=False)

    monkeypatch.setattr(registration, "register_rigid", moved)

    def run(marked, *more, by_images=True):
        out = tmp_path / f"out{len(list(tmp_path.iterdir()))}"
        command = ["follow-up", *(str(necks / f"visit{n}") for n in range(N)), "--output", str(out), *more]
        for n in range(N):
            r, a, s = DISC_RAS
            disc = f"{r},{a},{s + MOVED_MM * n}" if n in marked else ""
            command += ["--date", f"202{n}-01-10", "--disc", disc]
            command += ["--image", str(necks / f"image{n}.nii.gz")] if by_images else []
        return main(command), out

    return run


def _content(folder):
    return json.loads((folder / "follow_up.json").read_text(encoding="utf-8"))


def test_one_marked_disc_is_where_every_visit_counts_from(track) -> None:
    asked = "--range-mm=-18.5:9.5"
    code, by_discs = track({0, 1, 2}, asked, by_images=False)
    assert code == 0
    truth = _content(by_discs)
    assert truth["shared"]["from"] == "the disc C2/C3" and truth["aligned_by"] == "distance from the disc C2/C3"
    for n in range(N):
        code, folder = track({n}, asked)
        content = _content(folder)
        assert code == 0 and content["aligned_by"] == "rigid registration of the images"
        assert content["shared"] == pytest.approx(truth["shared"], abs=0.02)
        areas = [[visit["mean_csa_mm2"] for visit in one["visits"]] for one in (content, truth)]
        assert areas[0] == pytest.approx(areas[1], rel=1e-3)
        assert any(f"the disc C2/C3 is that of visit {n + 1}" in remark for remark in content["remarks"])
        assert "-18.5 to +9.5 mm from the disc C2/C3" in (folder / "follow_up.html").read_text(encoding="utf-8")
        with (folder / "follow_up.csv").open(encoding="utf-8", newline="") as file:
            assert {row["shared_from"] for row in csv.DictReader(file)} == {"the disc C2/C3"}


def test_of_several_discs_the_first_counts(track) -> None:
    code, folder = track({1, 2}, "--range-mm=-18.5:9.5")
    assert code == 0 and any("is that of visit 2;" in remark for remark in _content(folder)["remarks"])


def test_a_stretch_from_a_disc_that_nobody_marked_is_refused(track, monkeypatch, capsys) -> None:
    def not_asked(*_):
        raise AssertionError("registration takes long, and this is known before it")

    monkeypatch.setattr(registration, "register_rigid", not_asked)
    code, folder = track(set(), "--range-mm=-18.5:15.5")
    error = capsys.readouterr().err
    assert code == 2 and "mark it in one visit" in error and error.count("\n") == 1
    assert not folder.exists()


def test_without_a_disc_the_middle_of_the_first_cord_is_said_to_be_zero(track) -> None:
    code, folder = track(set())
    content = _content(folder)
    assert code == 0 and content["shared"]["from"] == "the middle of the cord at the first visit"
    assert content["shared"]["low_mm"] == pytest.approx(-content["shared"]["high_mm"], abs=3.1)
    assert "from the middle of the cord at the first visit" in (folder / "follow_up.html").read_text(encoding="utf-8")
    assert not any("disc" in remark for remark in content["remarks"])
