"""Every command of the README is run, one after the other, as it stands there; every option it names exists."""

from __future__ import annotations

import argparse
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer

from patient_search import write_series
from SpinalCordSegLib.cli import build_parser
from SpinalCordSegLib.cli import main as segment_main
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegTrainerLib.cli import app
from SpinalCordSegTrainerLib.cli import main as train_main

_CHECKOUT = Path(__file__).resolve().parents[2]
_PROGRAMS = {"spinalcordseg": segment_main, "spinalcordseg-train": train_main}


def _commands() -> list[str]:
    text = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _of(*programs: str) -> list[str]:
    return [command for command in _commands() if shlex.split(command)[0] in programs]


def test_readme_shows_commands() -> None:
    assert {shlex.split(command)[0] for command in _commands()} == {"make", *_PROGRAMS}


@pytest.mark.parametrize("command", _of("make"))
def test_make_knows_its_targets(command: str) -> None:
    makefile = (_CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for target in [word for word in shlex.split(command)[1:] if "=" not in word]:
        assert re.search(rf"^{re.escape(target)}:.*##", makefile, flags=re.MULTILINE), f"no target {target}"
    dry = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=_CHECKOUT, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0, dry.stderr
    if command == "make demo":  # what it runs is run below
        assert "SpinalCordSegLib.cli demo --output out/demo" in dry.stdout


@pytest.fixture
def folder_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands take for given: a series, the same neck as a file, masks drawn elsewhere, a second contrast."""
    phantom = make_phantom(PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS"))
    write_series(tmp_path / "scan" / "series7", phantom)
    image = read_image(tmp_path / "scan" / "series7").volume
    for name in ("neck", "stir"):
        write_volume(image, tmp_path / f"{name}.nii.gz")
    for name in ("mask", "corrected"):
        write_volume(phantom.mask, tmp_path / f"{name}.nii.gz")
    (tmp_path / "SpinalCordSeg").symlink_to(_CHECKOUT / "SpinalCordSeg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_commands_run_in_the_order_in_which_they_stand(
    folder_of_the_readme: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in _of(*_PROGRAMS):
        program, *words = shlex.split(command)
        if words[0] == "train":  # as it stands, but for two steps instead of hours
            words += [part for one in ("epochs=1", "updates_per_epoch=1", "batch_size=2") for part in ("--set", one)]
        assert (command, _PROGRAMS[program](words)) == (command, 0), capsys.readouterr().err
        told = capsys.readouterr()
        assert told.out.strip(), command
    written = {path.relative_to(folder_of_the_readme).as_posix() for path in folder_of_the_readme.rglob("*")}
    case = {f"results/neck/{name}" for name in ("report.json", "slices.csv", "montage.png", "report.html")}
    assert (
        case | {"out/demo/phantom/report.html", "results/summary.csv", "results/review.csv", "results/mask"} <= written
    )
    assert {"results/neck/mask.nii.gz", "training/sub-P07_ses-01_seg.nii.gz", "runs/tuned/last.safetensors"} <= written
    assert {"results/dicom/neck.seg.dcm", "results/dicom/neck.sr.dcm", "results/dicom/neck.pdf.dcm"} <= written


def _options() -> set[str]:
    """Every option of both programs, and of their commands."""
    found: set[str] = set()
    parsers = [build_parser()]
    for parser in parsers:
        for action in parser._actions:
            found.update(action.option_strings)
            parsers += action.choices.values() if isinstance(action, argparse._SubParsersAction) else []
    trainer = typer.main.get_command(app)
    for command in [trainer, *getattr(trainer, "commands", {}).values()]:
        found.update(word for one in command.params for word in (*one.opts, *one.secondary_opts))
    return found


def test_every_option_that_is_named_exists() -> None:
    text = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    of_others = {"--extra-index-url", "--nproc-per-node", "--testing", "--no-splash", "--python-code",
                 "--additional-module-paths", "--only", "--quick", "--help", "--same-scanner",
                 "--write-card"}  # fmt: skip
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    assert len(named) > 30
    assert named - _options() - of_others == set()


def test_files_the_readme_links_to_are_there() -> None:
    text = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (_CHECKOUT / target).exists()] == []


def test_readme_says_what_it_is_not_and_how_to_cite() -> None:
    text = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert "Not for diagnosis" in text
    assert "10.1007/s10278-022-00637-4" in text
