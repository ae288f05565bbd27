"""Says so where the tests of the Slicer side do not run."""

import importlib.util

import pytest


@pytest.mark.parametrize("package", ["slicer_core", "PySide6"])
def test_package_is_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} IS MISSING: no test of the Slicer modules ran (pip install '.[slicer-test]')")
