"""Every command in the README is one that exists, with the options it is shown with; those that are quick are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

_CHECKOUT = Path(__file__).resolve().parents[2]
_MODULES = {"spinalcordseg": "SpinalCordSegLib.cli", "spinalcordseg-train": "SpinalCordSegTrainerLib.cli"}

# What is not run here, and where it is.
_RUN_ELSEWHERE = {
    "spinalcordseg demo": "by the tests of the command line, and `make demo`",
    "spinalcordseg segment": "by the tests of the command line, on a simulated neck",
    "spinalcordseg measure": "by test_slicer_environment",
    "spinalcordseg review": "by test_review_commands, on simulated necks",
    "spinalcordseg correct": "by test_review_commands, on simulated necks",
    "spinalcordseg-train train": "by test_training_set, on the same drawn case",
    "spinalcordseg training-set": "by test_training_set, on a drawn case",
    "spinalcordseg carry": "by test_carry, on a simulated neck",
    "spinalcordseg export": "by test_dicom_refusals, on a synthetic series",
}


def _commands() -> list[str]:
    text = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _of(program: str) -> list[str]:
    return [command for command in _commands() if shlex.split(command)[0] == program]


@cache
def _help(program: str, *subcommand: str) -> str:
    run = subprocess.run(
        [sys.executable, "-m", _MODULES[program], *subcommand, "--help"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_readme_shows_commands() -> None:
    programs = {shlex.split(command)[0] for command in _commands()}
    assert programs <= {"make", "pip", *_MODULES}
    assert {"make", *_MODULES} <= programs


@pytest.mark.parametrize("command", _of("make"))
def test_make_knows_its_targets(command: str) -> None:
    makefile = (_CHECKOUT / "Makefile").read_text(encoding="utf-8")
    for target in [word for word in shlex.split(command)[1:] if "=" not in word]:
        assert re.search(rf"^{re.escape(target)}:.*##", makefile, flags=re.MULTILINE), f"no target {target}"


@pytest.mark.parametrize("command", _of("spinalcordseg") + _of("spinalcordseg-train"))
def test_command_exists_with_its_options(command: str) -> None:
    program, *words = shlex.split(command)
    subcommand = [words[0]] if words and not words[0].startswith("-") else []
    shown = _help(program, *subcommand)
    missing = [word for word in words if word.startswith("--") and word.partition("=")[0] not in shown]
    assert missing == []


@pytest.mark.parametrize("command", _of("spinalcordseg") + _of("spinalcordseg-train"))
def test_command_runs(command: str) -> None:
    program, *words = shlex.split(command)
    if " ".join([program, *words[:1]]) in _RUN_ELSEWHERE or words[-1:] == ["--help"]:  # the help is run above
        return
    run = subprocess.run(
        [sys.executable, "-m", _MODULES[program], *words], capture_output=True, text=True, timeout=120, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def test_files_the_readme_links_to_are_there() -> None:
    text = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in target]
    assert targets
    assert [target for target in targets if not (_CHECKOUT / target).exists()] == []


def test_readme_says_what_it_is_not_and_how_to_cite() -> None:
    text = (_CHECKOUT / "README.md").read_text(encoding="utf-8")
    assert "Not for diagnosis" in text
    assert "10.1007/s10278-022-00637-4" in text
