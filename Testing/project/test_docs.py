"""The commands in README and docs run as they stand, and what the pages name exists."""

import argparse
import json
import re
import runpy
import shlex
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest

from patient_search import write_series
from SpinalCordSegLib.cli import build_parser, main
from SpinalCordSegLib.image_io import read_image, write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegTrainerLib.cli import build_parser as build_trainer_parser
from SpinalCordSegTrainerLib.cli import main as train_main

_CHECKOUT = Path(__file__).resolve().parents[2]
_PAGES = [_CHECKOUT / "README.md", *sorted((_CHECKOUT / "docs").glob("*.md"))]
_RUN = ["README.md", "docs/usage.md", "docs/training.md"]
_PROGRAMS = {"spinalcordseg": main, "spinalcordseg-train": train_main}


def _blocks(page: Path, language: str) -> str:
    return "".join(re.findall(rf"(?ms)^```{language}\n(.*?)^```", page.read_text(encoding="utf-8")))


def _commands(page: Path) -> list[str]:
    return [line.strip() for line in _blocks(page, "sh").replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the commands take for given: a series, the same neck as a file, masks drawn elsewhere, a second contrast."""
    phantom = make_phantom(PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.8, 3.0), orientation="LPS"))
    write_series(tmp_path / "scan" / "series7", phantom.image)
    image = read_image(tmp_path / "scan" / "series7").volume
    for name in ("neck", "stir"):
        write_volume(image, tmp_path / f"{name}.nii.gz")
    for name in ("mask", "corrected"):
        write_volume(phantom.mask, tmp_path / f"{name}.nii.gz")
    for name, mm2 in {"sub-P08": 60.0, "sub-P09": 70.0}.items():
        other = make_phantom(PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.8, 3.0), cord_csa_mm2=mm2))
        write_volume(other.image, tmp_path / "training" / f"{name}.nii.gz")
        write_volume(other.mask, tmp_path / "training" / f"{name}_seg.nii.gz")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("SpinalCordSegLib.phantom.make_phantom", lambda: phantom)  # smaller than the demo's own
    return tmp_path


_IN_BOTH = {
    "results/neck/report.html", "results/neck/slices.csv", "results/summary.csv", "results/review.csv",
    "runs/tuned/best.safetensors", "results/dicom/neck.seg.dcm", "results/dicom/neck.sr.dcm",
}  # fmt: skip
_IN_DOCS = {"out/demo/phantom/report.html", "results/mask", "training/sub-P07_ses-01_seg.nii.gz"}


_SMALL = "epochs=1 updates_per_epoch=1 batch_size=1 statistics_batches=1 validation.max_slices=1 crop.size=64"


@pytest.mark.parametrize(("pages", "results"), [(_RUN[:1], _IN_BOTH), (_RUN[1:], _IN_BOTH | _IN_DOCS)])
def test_commands_run_in_the_order_in_which_they_stand(
    pages: list[str], results: set[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (command for page in pages for command in _commands(_CHECKOUT / page)):
        program, *words = shlex.split(command)
        if program not in _PROGRAMS:
            continue
        if words[0] == "train":  # as it stands, but for one small step instead of hours
            words += [part for one in _SMALL.split() for part in ("--set", one)]
        code = _PROGRAMS[program](words)
        assert (command, code) == (command, 0), capsys.readouterr().err
    assert results <= {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


@pytest.mark.parametrize(
    ("example", "arguments", "result"),
    [
        ("usage.md", "", "python/neck/report.json"),
        ("examples/segment_and_measure.py", "neck.nii.gz mask.nii.gz results/neck", "results/neck/report.html"),
        ("examples/cohort_table.py", "training results", "results/cohort.html"),
        ("examples/train_and_evaluate.py", f"training run network.width=1 {_SMALL}", "run/evaluation/scores.json"),
        ("examples/first_steps.ipynb", "", "first_steps/results/neck/mask_ai.nii.gz"),
    ],
)
def test_examples_run(example: str, arguments: str, result: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.setattr("sys.argv", [example, *arguments.split()])
    page = _CHECKOUT / "docs" / example
    code = _blocks(page, "python") if page.suffix == ".md" else page.read_text(encoding="utf-8")
    if page.suffix == ".ipynb":
        code = "\n".join("".join(c["source"]) for c in json.loads(code)["cells"] if c["cell_type"] == "code")
    Path("example.py").write_text(code, encoding="utf-8")
    runpy.run_path("example.py", run_name="__main__")
    assert (folder / result).is_file()


@pytest.mark.parametrize("language", ["de", "es"])
def test_quick_starts_have_the_words_of_the_panels_and_commands_that_run(language: str) -> None:
    page = _CHECKOUT / "docs" / f"quickstart.{language}.md"
    catalogue = _CHECKOUT / "SpinalCordSeg/Resources/Translations" / f"SpinalCordSeg_{language}.ts"
    shown = {(one.text or "").strip(":.") for one in ElementTree.parse(catalogue).iter("translation")}
    named = {word.strip(":.") for word in re.findall(r"\*\*(.+?)\*\*", page.read_text(encoding="utf-8"))}
    assert len(named) > 10 and named - shown == set()
    assert set(_commands(page)) <= {one for other in _RUN for one in _commands(_CHECKOUT / other)}


@pytest.mark.parametrize("command", sorted({c for page in _PAGES for c in _commands(page) if c.startswith("make")}))
def test_make_knows_its_targets(command: str) -> None:
    dry = subprocess.run(
        ["make", "--dry-run", *shlex.split(command)[1:]], cwd=_CHECKOUT, capture_output=True, text=True, check=False
    )
    assert dry.returncode == 0, dry.stderr


def _options(parser: argparse.ArgumentParser) -> set[str]:
    found: set[str] = set()
    for action in parser._actions:
        found.update(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found.update(*(_options(one) for one in action.choices.values()))
    return found


def test_every_option_that_is_named_exists() -> None:
    of_others = {
        "--extra-index-url",
        "--nproc-per-node",
        "--only",
        "--quick",
        "--same-scanner",
        "--count",
        "--tag",
        "--pdb",
    }
    text = "".join(re.sub(r"(?s)```text.*?```", "", page.read_text("utf-8")) for page in _PAGES)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))
    assert named - _options(build_parser()) - _options(build_trainer_parser()) - of_others == set()


def test_linked_files_exist() -> None:
    for page in _PAGES:
        targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
        assert [target for target in targets if not (page.parent / target).exists()] == [], page.name


def test_tables_of_columns_and_flags_are_those_of_the_code() -> None:
    """``make docs`` renews them."""
    import data_dictionary

    page = data_dictionary.PAGE.read_text(encoding="utf-8")
    assert data_dictionary.renewed(page) == page
