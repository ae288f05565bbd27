"""Which package may import what. Read from the source, imports inside functions included."""

import subprocess
import sys

import pytest

from source_tree import Source, imports_of

# What 3D Slicer ships, plus torch. Anything else must stay out: inside Slicer it is not there.
_IN_SLICER = {"numpy", "scipy", "SimpleITK", "pydicom", "PIL", "torch"}
# Optional packages of the library; ruff sees that they are imported in functions only.
_ON_DEMAND = {"highdicom", "matplotlib", "jinja2", "distributed", "onnxruntime", "statsmodels"}
_PICTURES = {"matplotlib"}

# package → what it may import beside the standard library and itself
_MAY_IMPORT = {
    "SpinalCordSegLib": _IN_SLICER | _ON_DEMAND,
    "SpinalCordSegNodes": {"numpy", "slicer", "vtk", "SpinalCordSegLib"},
    "SpinalCordSegWidgets": {
        "numpy", "slicer", "vtk", "qt", "ctk", "SampleData", "packaging", "SpinalCordSegLib", "SpinalCordSegNodes",
    },
    "Recipes": _IN_SLICER | _PICTURES | {"onnx", "safetensors", "SpinalCordSegLib", "SpinalCordSegTrainerLib"},
    "SpinalCordSegTrainerLib": _IN_SLICER | _PICTURES | {"safetensors", "SpinalCordSegLib"},
    "SpinalCordSegTrainerWidgets": {
        "numpy", "slicer", "vtk", "qt", "ctk", "packaging",
        "SpinalCordSegLib", "SpinalCordSegNodes", "SpinalCordSegWidgets", "SpinalCordSegTrainerLib",
    },
}  # fmt: skip

# Modules of the library that are about tensors. No other may bring torch in when it is imported, not even through
# these: the command line starts, reads, measures and reports without the seconds that torch takes to load.
_TENSOR_MODULES = {"model.networks", "torch_inference"}

# In a module file Slicer itself runs at start-up, imports belong into methods: torch and the libraries may be missing.
_AT_SLICER_START = {"slicer", "vtk", "qt", "ctk"}


@pytest.fixture(scope="session")
def packaged(sources: list[Source]) -> list[Source]:
    return [source for source in sources if source.package]


def test_packages_import_only_what_their_layer_may(packaged: list[Source]) -> None:
    wrong = [
        f"{source.path}:{found.line} imports {found.name}"
        for source in packaged
        for found in imports_of(source)
        if found.top not in _MAY_IMPORT[source.package] | sys.stdlib_module_names | {source.package}
    ]
    assert wrong == []


def test_only_tensor_modules_bring_torch_in(packaged: list[Source]) -> None:
    library = [source.module for source in packaged if source.package == "SpinalCordSegLib"]
    light = sorted(name for name in library if name.partition(".")[2] not in _TENSOR_MODULES)
    code = f"""
import importlib, sys
for name in {light!r}:
    importlib.import_module(name)
    if "torch" in sys.modules:
        sys.exit(name)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("module", ["SpinalCordSeg", "SpinalCordSegTrainer"])
def test_module_folder_has_its_script_and_no_other(sources: list[Source], module: str) -> None:
    """Slicer takes every script directly in a module folder for a module."""
    scripts = [source for source in sources if source.path.parts[:-1] == (module,)]
    assert {source.path.name for source in scripts} <= {f"{module}.py"}
    wrong = [
        f"{source.path}:{found.line} {found.name}"
        for source in scripts
        for found in imports_of(source)
        if not found.deferred and found.top not in sys.stdlib_module_names | _AT_SLICER_START
    ]
    assert wrong == []


def test_no_files_import_each_other_in_a_circle(packaged: list[Source]) -> None:
    """Not even inside functions."""
    modules = {source.module for source in packaged}
    needs = {}
    for source in packaged:
        names = {found.name for found in imports_of(source)}
        needs[source.module] = (names | {name.rpartition(".")[0] for name in names - modules}) & modules
    while free := {name for name, needed in needs.items() if not needed & needs.keys()}:
        needs = {name: needed for name, needed in needs.items() if name not in free}
    assert needs == {}
