"""Sample data: registered by address and checksum when Slicer has started; the simulated neck needs no network."""

from __future__ import annotations

import hashlib
import sys
import types
from pathlib import Path

import pytest


@pytest.fixture
def sample_data(qt_application):
    from SpinalCordSegWidgets import sample_data

    return sample_data


def test_both_are_registered(monkeypatch, panel, sample_data):
    import SpinalCordSeg

    registered: list[dict] = []
    module = types.ModuleType("SampleData")
    module.SampleDataLogic = types.SimpleNamespace(
        registerCustomSampleDataSource=lambda **source: registered.append(source)
    )
    monkeypatch.setitem(sys.modules, "SampleData", module)
    SpinalCordSeg.registerSampleData()
    neck, simulated = registered
    assert neck["uris"].startswith("https://raw.githubusercontent.com/") and neck["uris"].endswith(".nii.gz")
    assert neck["checksums"] == f"SHA256:{sample_data.NECK_SHA256}" and len(sample_data.NECK_SHA256) == 64
    assert neck["category"] == simulated["category"] and "uris" not in simulated
    monkeypatch.setitem(sys.modules, "SampleData", None)
    SpinalCordSeg.registerSampleData()
    assert len(registered) == 2


def test_checksum_is_that_of_the_public_file(shared_data: Path, sample_data):
    content = (shared_data / "t1w_masked" / "sct-testing_T1w.nii.gz").read_bytes()
    assert hashlib.sha256(content).hexdigest() == sample_data.NECK_SHA256
