"""A case's folder appears whole or not at all, and nobody else's files are touched."""

import csv
import errno
import json
import os
from dataclasses import replace

import numpy as np
import pytest

from SpinalCordSegLib import case
from SpinalCordSegLib.case import read_result, write_case
from SpinalCordSegLib.errors import ConfigurationError, MissingPackageError, OutputError
from SpinalCordSegLib.image_io import read_labels
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask

_FILES = {"mask.nii.gz", "report.json", "slices.csv", "montage.png", "report.html"}


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(PhantomConfig(shape=(40, 32, 4), spacing_mm=(0.7, 0.9, 3.0), orientation="PSR"))


@pytest.fixture(scope="module")
def result(phantom):
    return replace(measure_mask(phantom.mask, "neck"), probability=phantom.coverage)


def _names(folder):
    return {path.name for path in folder.iterdir()}


def test_everything_is_written(result, tmp_path):
    folder = tmp_path / "new" / "neck"
    content = write_case(result, folder)
    assert _names(folder) == _FILES
    assert _names(tmp_path / "new") == {"neck"}
    assert json.loads((folder / "report.json").read_text()) == content == read_result(folder)
    mask = read_labels(folder / "mask.nii.gz")
    assert mask.same_grid(result.mask)
    np.testing.assert_array_equal(mask.voxels != 0, result.mask.voxels)
    assert len(list(csv.reader((folder / "slices.csv").open()))) == 5
    assert (folder / "montage.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("mask_format", ["seg.nrrd", "nrrd"])
def test_formats_and_probability(result, tmp_path, mask_format):
    write_case(result, tmp_path / "neck", mask_format=mask_format, save_probability=True)
    assert {f"mask.{mask_format}", "probability.nrrd"} <= _names(tmp_path / "neck")
    with pytest.raises(ConfigurationError, match="mgz"):
        write_case(result, tmp_path / "other", mask_format="mgz")


def test_replacing_keeps_what_the_user_added(result, tmp_path):
    folder = tmp_path / "neck"
    write_case(result, folder, mask_format="seg.nrrd")
    (folder / "my notes.txt").write_text("keep")
    write_case(result, folder)
    assert _names(folder) == _FILES | {"my notes.txt"}
    assert _names(tmp_path) == {"neck"}


@pytest.mark.parametrize("content", ["", "{}", '{"schema": "other"}', "[1]", "not json"])
def test_folder_of_somebody_else_is_not_replaced(result, tmp_path, content):
    folder = tmp_path / "neck"
    folder.mkdir()
    (folder / "report.json").write_text(content)
    (folder / "scan.nii.gz").write_text("precious")
    with pytest.raises(OutputError, match="not a result of SpinalCordSeg"):
        write_case(result, folder)
    assert _names(folder) == {"report.json", "scan.nii.gz"}
    assert _names(tmp_path) == {"neck"}


def test_empty_folder_is_taken_and_a_file_is_not(result, tmp_path):
    (tmp_path / "neck").mkdir()
    write_case(result, tmp_path / "neck")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="in the way"):
        write_case(result, tmp_path / "file")


@pytest.mark.parametrize("earlier", [False, True])
def test_full_disk_leaves_nothing_half_written(result, tmp_path, monkeypatch, earlier):
    folder = tmp_path / "neck"
    if earlier:
        write_case(result, folder)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()} if earlier else {}

    def full(path, text):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(case, "write_text", full)
    with pytest.raises(OutputError, match="disk is full"):
        write_case(result, folder)
    assert _names(tmp_path) == ({"neck"} if earlier else set())
    assert before == ({path: path.stat().st_mtime_ns for path in folder.iterdir()} if earlier else {})


def test_cancelled_leaves_nothing(result, tmp_path, monkeypatch):
    def cancel(path, content):
        raise KeyboardInterrupt

    monkeypatch.setattr(case, "write_json", cancel)
    with pytest.raises(KeyboardInterrupt):
        write_case(result, tmp_path / "neck")
    assert _names(tmp_path) == set()


def test_without_pillow_the_picture_is_left_out(result, tmp_path, monkeypatch):
    def missing(*arguments):
        raise MissingPackageError("figures need matplotlib")

    monkeypatch.setattr(case, "montage", missing)
    content = write_case(result, tmp_path / "neck")
    assert _names(tmp_path / "neck") == _FILES - {"montage.png"} == set(content["files"])


def test_incomplete_or_newer_results_do_not_count(result, tmp_path):
    folder = tmp_path / "neck"
    assert read_result(folder) is None
    content = write_case(result, folder)
    (folder / "slices.csv").unlink()
    assert read_result(folder) is None
    (folder / "slices.csv").write_text("")
    (folder / "report.json").write_text(json.dumps(content | {"schema_version": 99}))
    assert read_result(folder) is None


def test_a_replacement_refused_midway_puts_the_earlier_result_back(result, tmp_path, monkeypatch):
    folder, replace_file = tmp_path / "neck", os.replace
    write_case(result, folder)
    (folder / "my notes.txt").write_text("keep")
    before = (folder / "report.json").read_bytes()

    def refuse_the_new_one(source, target):
        if target == folder and str(source).endswith(".part"):
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        replace_file(source, target)

    monkeypatch.setattr(os, "replace", refuse_the_new_one)
    with pytest.raises(OutputError, match="no permission"):
        write_case(result, folder)
    assert _names(tmp_path) == {"neck"} and _names(folder) == _FILES | {"my notes.txt"}
    assert (folder / "report.json").read_bytes() == before


def test_a_name_too_long_for_the_hidden_names_beside_it(result, tmp_path):
    with pytest.raises(OutputError, match="the name is too long"):
        write_case(result, tmp_path / ("x" * 231))
    assert _names(tmp_path) == set()


def test_a_report_of_a_newer_version_is_no_result_here(result, tmp_path):
    content = write_case(result, tmp_path / "neck")
    newer = json.dumps(content | {"schema_version": content["schema_version"] + 1})
    (tmp_path / "neck" / "report.json").write_text(newer)
    assert read_result(tmp_path / "neck") is None
