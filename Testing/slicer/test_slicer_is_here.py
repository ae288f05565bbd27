"""Says so where the tests of the Slicer side do not run, or not on Slicer's own Python."""

import importlib
import importlib.util
import warnings

import pytest


@pytest.mark.parametrize("package", ["slicer_core", "PySide6"])
def test_package_is_installed(package: str) -> None:
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} IS MISSING: no test of the Slicer modules ran (pip install '.[slicer-test]')")


def test_slicers_own_python_serves_the_panels() -> None:
    from slicer_standins import checkout

    package = checkout.folder()
    if package is None:
        warnings.warn(f"SLICER'S OWN PYTHON NOT TESTED: {checkout.VARIABLE} names no checkout of Slicer", stacklevel=1)
        return
    for name in checkout.MODULES:
        assert importlib.import_module(f"slicer.{name}").__file__.startswith(str(package))
