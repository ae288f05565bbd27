"""The commands end to end; errors in one line; nobody's name leaves the folder."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cord_files import SHORT, TUNED, configured, cord_label, put_case, tiny_model

from patient_search import leaks, secrets_of, write_series
from SpinalCordSegLib.errors import Cancelled, TrainingDataError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.model.checkpoint import load_checkpoint
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegTrainerLib import lr_finder, trainer
from SpinalCordSegTrainerLib.cli import STOP_FILE, main
from SpinalCordSegTrainerLib.slice_cache import SliceCache
from SpinalCordSegTrainerLib.split import Split, write_split


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three people; the label map holds cord as 2 and something as 5."""
    folder = tmp_path / "data"
    for number in range(1, 4):
        label = cord_label(2)
        label.ijk[0, 0, 0] = 5
        put_case(folder, f"sub-{number}_T1w", number, label)
    return folder


def test_fine_tune_from_a_model_and_go_on(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    model = str(tiny_model(tmp_path / "m.safetensors", 64))
    words = ["train", str(data), "--output", str(run), "--from", model, "--label", "2", *TUNED]
    assert main(words) == 0
    assert main(["train", "--output", str(run), "--resume", "--device", "cpu"]) == 0
    assert main([*words, "--resume"]) == 0  # the same line again


def test_the_range_test_starts_where_the_training_will(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[torch.nn.Module] = []

    def learn(network: torch.nn.Module, *_: object) -> float:
        started.append(network)
        raise Cancelled("seen")

    monkeypatch.setattr(lr_finder, "learn", learn)
    model = _model(tmp_path)
    found = f"find-lr {data} --output {tmp_path / 'lr'} --label 2 --updates 300 --from {model}".split()
    assert main([*found, *TUNED]) == 130
    weights = started.pop().state_dict()
    assert all(np.array_equal(one, weights[name]) for name, one in load_checkpoint(model).weights.items())


def test_a_model_may_be_taught_one_patient(data: Path, tmp_path: Path) -> None:
    for path in data.glob("sub-[23]*"):
        path.unlink()
    options = ("--label", "2", "--set", "normalisation.size=64")
    tuned = configured(data, tmp_path / "run", *options, "--from", str(_model(tmp_path)))
    assert tuned.validation.fraction == 0
    with pytest.raises(TrainingDataError, match="needs two"):  # before anything is read
        configured(data, tmp_path / "new", *options)
    assert not (tmp_path / "new").exists()


def test_the_small_recipe_has_pixels_of_one_size(data: Path, tmp_path: Path) -> None:
    made = configured(data, tmp_path / "run", "--label", "2", "--recipe", "small", "--epochs", "3")
    assert (made.normalisation.kind, made.normalisation.pixel_mm, made.epochs) == ("fixed_pixel", 0.7, 3)
    assert [source.policy for source in made.sources] == ["standard"]


def _configuration(make_cache: Callable[..., SliceCache], tmp_path: Path) -> list[str]:
    """``train`` as short as it can be, from a configuration file, into the folder run."""
    config = tmp_path / "c.json"
    config.write_text(json.dumps({"sources": [{"path": str(make_cache(n=8, size=64).folder)}]}), encoding="utf-8")
    return ["train", "--config", str(config), "--output", str(tmp_path / "run"), *SHORT]


def test_an_old_request_to_stop_is_none(make_cache: Callable[..., SliceCache], tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    (run / STOP_FILE).touch()
    assert main(_configuration(make_cache, tmp_path)) == 0
    (run / STOP_FILE).touch()  # a program's own: it clears old ones before it starts the command
    again = ["train", "--resume", "--output", str(run), "--set", "epochs=3", "--device", "cpu", "--progress", "json"]
    assert main(again) == 130


def test_a_case_that_cannot_be_judged_does_not_stop_the_others(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "sub-2_T1w_seg.nii.gz").write_bytes(b"cut short")
    output = tmp_path / "e"
    arguments = ["evaluate", str(data), "--model", str(_model(tmp_path)), "--output", str(output), "--label", "5"]
    assert main([*arguments, "--only-labelled", "--device", "cpu"]) == 1
    assert "sub-2_T1w: not judged" in capsys.readouterr().err
    told = json.loads((output / "scores.json").read_text(encoding="utf-8"))
    assert told["cases"] == told["slices_with_cord"] == 2  # label 5 is drawn in one slice of each
    assert told["slices_without_cord"] == 0
    assert [one["case"] for one in told["not_judged"]] == ["sub-2_T1w"]


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["train"], "nothing to train on"),
        (["train", "--config", "/nowhere.json"], "cannot be read"),
        (["evaluate", "/nowhere", "--model", "/nowhere.safetensors"], "no such weights file"),
        (["train", "--folds", "2"], "give DATA"),
        (["train", "{data}", "--recipe", "small", "--from", "cervical_t1w"], "starts from nothing"),
        (["train", "{data}", "--device", "cpu"], "labels"),
        (["train", "{data}", "--label", "2", "--device", "abacus"], "abacus"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    arguments: list[str], word: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([one.format(data=data) for one in arguments] + ["--output", str(tmp_path / "x")]) == 2
    told = capsys.readouterr().err.strip()
    assert word in told and "Traceback" not in told
    assert len([line for line in told.splitlines() if ": error: " in line]) == 1


def _model(folder: Path) -> Path:
    return tiny_model(folder / "m.safetensors")


def test_ctrl_c_saves_and_exits_130(
    make_cache: Callable[..., SliceCache], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = trainer.Training.step

    def interrupted(run: trainer.Training) -> tuple[float, float]:
        signal.raise_signal(signal.SIGINT)
        return step(run)

    monkeypatch.setattr(trainer.Training, "step", interrupted)
    assert main(_configuration(make_cache, tmp_path)) == 130
    assert (tmp_path / "run" / "state.safetensors").exists()
    monkeypatch.setattr(trainer.Training, "step", step)
    assert main(["train", "--output", str(tmp_path / "run"), "--resume", "--device", "cpu"]) == 0


@pytest.fixture
def three_patients(tmp_path: Path) -> tuple[Path, list[str]]:
    """DICOM folders S01 to S03, full of identifiers, with a label map beside each; and all that must not show."""
    secrets: list[str] = []
    for n in range(3):
        phantom = make_phantom(PhantomConfig(shape=(60, 48, 4), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS", seed=n))
        secrets += secrets_of(write_series(tmp_path / "data" / f"S0{n + 1}", phantom.image))
        write_volume(phantom.mask, tmp_path / "data" / f"S0{n + 1}_seg.nii.gz")
    return tmp_path / "data", sorted(set(secrets))


def test_from_check_to_evaluation(
    three_patients: tuple[Path, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, secrets = three_patients
    out = tmp_path / "out"
    said = ""
    folder, run = str(data), str(out / "run")
    for command in (
        ["check", folder, "--output", str(out)],
        ["train", folder, "--output", run, *SHORT],
        ["find-lr", folder, "--output", str(out / "lr"), "--updates", "300", *SHORT],
        ["evaluate", folder, "--model", f"{run}/last.safetensors", "--output", str(out / "evaluation")],
        ["raters", folder, folder, "--output", str(out / "raters")],
    ):
        code = main(command)
        told = capsys.readouterr()
        assert (command[0], code) == (command[0], 0), told.err
        said += told.out + told.err
    assert leaks(out, secrets, said) == []
    written = ("last.safetensors", "run.json", "split.json", "scores.json", "range_test.json")
    assert {*written} <= {path.name for path in out.rglob("*")}  # they were there to be searched


def test_a_model_is_handed_on_without_the_names_of_those_held_out(tmp_path: Path) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    names = [f"{name}_{number}" for number, name in enumerate(("DoeJohn", "RoeJane", "PoeMary"))]
    for number, name in enumerate(names):
        put_case(data, name, number)
    write_split([Split((names[0],), (names[1], names[2]))], tmp_path / "split.json")
    held_out = ["--split", str(tmp_path / "split.json")]
    assert main(["train", str(data), "--output", str(run), *held_out, *SHORT]) == 0
    for path in (run / "best.safetensors", run / "last.safetensors"):
        content = path.read_bytes()
        assert [word for word in ("Doe", "Roe", "Poe", "John", str(tmp_path)) if word.encode() in content] == []
    assert load_checkpoint(run / "last.safetensors").training["validation"]["subjects"] == 2
    assert json.loads((run / "config.json").read_text(encoding="utf-8"))["validation"]["subjects"] == sorted(names[1:])
    assert main(["train", "--output", str(run), "--resume", "--device", "cpu"]) == 0
