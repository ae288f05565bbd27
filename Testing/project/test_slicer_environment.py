"""The command line starts light, and runs with no package but those that 3D Slicer has, plus ONNX Runtime."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

_IN_SLICER = ("numpy", "scipy", "SimpleITK", "pydicom", "pillow", "requests", "onnxruntime")

# Runs the command line with argv after the first, and refuses to import what the first names (comma-separated).
_WITHOUT = """
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    names = set(sys.argv[1].split(","))
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
from SpinalCordSegLib.cli import main
sys.exit(main(sys.argv[2:]))
"""

_LOADED = """
import json, sys
try:
    from SpinalCordSegLib.cli import main
    code = main(sys.argv[1:])
except SystemExit as ended:
    code = ended.code
print("\\n" + json.dumps([code, sorted({name.partition(".")[0] for name in sys.modules})]))
"""


def _python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"PYTHONUTF8": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def _loaded_by(*arguments: str) -> set[str]:
    run = _python(_LOADED, *arguments)
    assert run.returncode == 0, run.stderr
    code, modules = json.loads(run.stdout.splitlines()[-1])
    assert code in (0, None), run.stderr
    return set(modules)


def _not_in_slicer() -> set[str]:
    """Top-level names of every installed package that neither is in Slicer nor is needed by one that is."""
    reached: set[str] = set()
    waiting = list(_IN_SLICER)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in reached:
            continue
        reached.add(name)
        try:
            needs = requires(name) or []
        except ModuleNotFoundError:  # a requirement of another platform
            continue
        waiting += [re.split(r"[^\w.-]", need, maxsplit=1)[0] for need in needs if "extra ==" not in need]
    reached.add("spinalcordseg")
    return {
        top
        for top, owners in packages_distributions().items()
        if top.isidentifier() and not {re.sub(r"[-_.]+", "-", owner).lower() for owner in owners} & reached
    }


@pytest.fixture(scope="module")
def mask_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cord of 9×7 voxels of 0.8×0.9 mm over 12 slices of 3 mm."""
    voxels = np.zeros((12, 40, 48), np.uint8)
    voxels[:, 16:23, 20:29] = 1
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.8, 0.9, 3.0))
    path = tmp_path_factory.mktemp("mask") / "cord.nii.gz"
    sitk.WriteImage(image, str(path))
    return path


def test_help_loads_nothing_heavy() -> None:
    heavy = {"torch", "scipy", "SimpleITK", "pydicom", "PIL", "matplotlib"}
    assert _loaded_by("--help") & heavy == set()


def test_models_measure_and_segment_run_with_what_slicer_has(mask_file: Path, tiny_model: Path, tmp_path: Path) -> None:
    refused = ",".join(sorted(_not_in_slicer()))
    commands = {
        "models": ["models", str(tiny_model)],
        "measure": ["measure", str(mask_file), "--output", str(tmp_path / "measured")],
        "segment": [
            "segment", str(mask_file), "--model", str(tiny_model), "--output", str(tmp_path / "segmented"),
            "--device", "cpu",
        ],
    }  # fmt: skip
    for name, arguments in commands.items():
        run = _python(_WITHOUT, refused, *arguments)
        assert (name, run.returncode) == (name, 0), run.stderr
    for folder in ("measured", "segmented"):
        written = {path.name for path in (tmp_path / folder / "cord").iterdir()}
        assert {"report.json", "slices.csv"} <= written
        assert not {"montage.png", "report.html"} & written, "matplotlib and Jinja2 are installed on a click"
