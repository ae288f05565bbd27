"""A corrected case goes into a training set; the trainer takes the folder as it is and learns on from a model."""

from pathlib import Path

import numpy as np
import pytest
from cord_files import CORD_MM3, cord_image, cord_label

from SpinalCordSegLib import training_set
from SpinalCordSegLib.errors import ConfigurationError, GeometryError, OutputError, VoxelError
from SpinalCordSegLib.image_io import read_image, read_labels
from SpinalCordSegLib.training_set import add_to_training_set
from SpinalCordSegLib.volume import Volume, mask_sha256
from SpinalCordSegTrainerLib.dataset import match_files
from SpinalCordSegTrainerLib.dataset_check import check_cases


def test_the_trainer_takes_what_was_added(tmp_path: Path) -> None:
    for n, subject in enumerate(("P07", "P08")):
        add_to_training_set(tmp_path, cord_image(n), cord_label(), subject)
    second = add_to_training_set(tmp_path, cord_image(5), cord_label(), "P07")
    assert second.image.name == "sub-P07_ses-02.nii.gz"
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}{end}" for name in ("sub-P07_ses-01", "sub-P07_ses-02", "sub-P08_ses-01")
          for end in (".nii.gz", "_seg.nii.gz", ".json")),
    }  # fmt: skip
    checked = check_cases(match_files(tmp_path))
    assert [(one.name, one.subject, one.reason) for one in checked] == [
        ("sub-P07_ses-01", "P07", ""), ("sub-P07_ses-02", "P07", ""), ("sub-P08_ses-01", "P08", ""),
    ]  # fmt: skip
    label = read_labels(tmp_path / "sub-P07_ses-01_seg.nii.gz")
    assert np.array_equal(label.ijk, cord_label().ijk) and np.allclose(
        label.voxel_to_ras, cord_image().voxel_to_ras, atol=1e-4
    )
    assert (label.ijk > 0).sum() * label.voxel_volume_mm3 == pytest.approx(CORD_MM3)
    assert np.array_equal(read_image(tmp_path / "sub-P07_ses-01.nii.gz").volume.ijk, cord_image(0).ijk)


def test_the_same_image_is_not_added_twice(tmp_path: Path) -> None:
    first = add_to_training_set(tmp_path, cord_image(), cord_label(), "P1")
    again = add_to_training_set(tmp_path, cord_image(), cord_label(), "P1")
    assert (again.image, again.added) == (first.image, False)
    other = cord_label()
    other.ijk[20, 16:32, 1] = 0
    with pytest.raises(OutputError, match="another mask of this very image"):
        add_to_training_set(tmp_path, cord_image(), other, "P1")
    assert np.array_equal(read_labels(first.label).ijk, cord_label().ijk)
    for force in (False, True):  # a code corrected later must not leave two people as one
        with pytest.raises(OutputError, match="another subject than P2"):
            add_to_training_set(tmp_path, cord_image(), cord_label(), "P2", replace=force)
    replaced = add_to_training_set(tmp_path, cord_image(), other, "P1", replace=True)
    assert replaced.label == first.label and np.array_equal(read_labels(first.label).ijk, other.ijk)


@pytest.mark.parametrize("refused", ["write_volume", "write_json"])
def test_what_could_not_be_written_is_written_at_the_next_try(tmp_path: Path, monkeypatch, refused: str) -> None:
    """The mask of a case was to be replaced when the disk was full."""
    first = add_to_training_set(tmp_path, cord_image(), cord_label(), "P1")
    corrected = cord_label()
    corrected.ijk[20, 16:32, 1] = 0

    def refuse(*_: object) -> None:
        raise OutputError("the disk is full")

    with monkeypatch.context() as full, pytest.raises(OutputError):
        full.setattr(training_set, refused, refuse)
        add_to_training_set(tmp_path, cord_image(), corrected, "P1", replace=True)
    again = add_to_training_set(tmp_path, cord_image(), corrected, "P1", replace=True)
    assert again.label == first.label and np.array_equal(read_labels(again.label).ijk, corrected.ijk)
    assert mask_sha256(corrected) in again.provenance.read_text(encoding="utf-8")


def test_what_cannot_be_learnt_from_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="not a subject code"):
        add_to_training_set(tmp_path, cord_image(), cord_label(), "Pérez José")
    with pytest.raises(GeometryError, match="another grid"):
        add_to_training_set(tmp_path, cord_image(), Volume.from_ijk(cord_label().ijk, np.eye(4)), "P1")
    with pytest.raises(VoxelError, match="is empty"):
        add_to_training_set(tmp_path, cord_image(), cord_image().with_ijk(np.zeros(cord_image().ijk_shape)), "P1")
    assert list(tmp_path.iterdir()) == []
