"""Nothing that the trainer writes or says tells who a patient is: tables, caches, run folders, models, evaluations."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from cord_files import put_case

from patient_search import leaks, secrets_of, write_series
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegTrainerLib.cli import main
from SpinalCordSegTrainerLib.split import Split, write_split

SHORT = [
    word
    for one in (
        "network.name=deep_unet", "network.width=1", "batch_size=2", "updates_per_epoch=1", "epochs=1", "crop.size=32",
        "statistics_batches=1", "normalisation.size=64",
    )
    for word in ("--set", one)
]  # fmt: skip


@pytest.fixture
def three_patients(tmp_path: Path) -> tuple[Path, list[str]]:
    """DICOM folders S01 to S03, full of identifiers, with a label map beside each; and all that must not show."""
    secrets: list[str] = []
    for n in range(3):
        phantom = make_phantom(PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS", seed=n))
        secrets += secrets_of(write_series(tmp_path / "data" / f"S0{n + 1}", phantom))
        write_volume(phantom.mask, tmp_path / "data" / f"S0{n + 1}_seg.nii.gz")
    return tmp_path / "data", sorted(set(secrets))


def test_from_check_to_evaluation(
    three_patients: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, secrets = three_patients
    out = tmp_path / "out"
    torch.set_num_threads(1)
    said = ""
    folder, run = str(data), str(out / "run")
    for command in (
        ["check", folder, "--output", str(out)],
        ["train", folder, "--output", run, *SHORT, "--device", "cpu"],
        ["evaluate", folder, "--model", f"{run}/last.safetensors", "--output", str(out / "evaluation")],
        ["crossvalidate", folder, "--output", str(out / "folds"), "--folds", "2", *SHORT, "--device", "cpu"],
        ["table1", folder, "--output", str(out / "table1"), "--quick", "--only", "1", *SHORT, "--device", "cpu"],
        ["raters", folder, folder, "--output", str(out / "raters")],
    ):
        code = main(command)
        told = capsys.readouterr()
        assert (command[0], code) == (command[0], 0), told.err
        said += told.out + told.err
    assert leaks(out, secrets, said) == []
    names = {path.name for path in out.rglob("*")}
    assert {
        "last.safetensors",
        "run.json",
        "split.json",
        "scores.json",
        "folds.json",
        "table1.md",
    } <= names  # they were there to be searched


def test_a_model_is_handed_on_without_the_names_of_those_held_out(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    names = [f"{name}_{number}" for number, name in enumerate(("DoeJohn", "RoeJane", "PoeMary"))]
    for number, name in enumerate(names):
        put_case(data, name, number)
    write_split(Split((names[0],), (names[1], names[2])), tmp_path / "split.json")
    held_out = ["--split", str(tmp_path / "split.json")]
    assert main(["train", str(data), "--output", str(run), *held_out, *SHORT, "--device", "cpu"]) == 0
    for path in (run / "best.safetensors", run / "last.safetensors", run / "best.md", run / "last.md"):
        content = path.read_bytes()
        assert [word for word in ("Doe", "Roe", "Poe", "John", str(tmp_path)) if word.encode() in content] == []
    assert load_checkpoint(run / "last.safetensors").training["validation"]["subjects"] == 2
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["validation"]["subjects"] == sorted(names[1:])
    assert main(["train", "--output", str(run), "--resume", "--device", "cpu"]) == 0
