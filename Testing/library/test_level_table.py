"""Discs, ages and sexes of many inputs from one table, whatever program saved it."""

from dataclasses import replace
from pathlib import Path

import pytest

from SpinalCordSegLib.case import Case
from SpinalCordSegLib.cli import main
from SpinalCordSegLib.disc_files import levels_by_input
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.image_io import write_volume
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions

INPUTS = [Path(f"/study/{name}") for name in ("P01/T1.nii.gz", "P02/T1.nii.gz", "P03/T1.nii.gz")]
C2_C3 = (DiscMark(3, ras_mm=(1.5, -2.0, 33.0)),)


def _read(tmp_path, text, inputs=INPUTS, **common):
    (tmp_path / "discs.csv").write_text(text, encoding="utf-8-sig")
    return levels_by_input(tmp_path / "discs.csv", inputs, LevelOptions(**common))


@pytest.mark.parametrize(
    "text",
    [
        "image,disc,R_mm,A_mm,S_mm,age,sex\nP01/T1,C2/C3,1.5,-2,33,40,F\n",
        "Volume;Disc;R_mm;A_mm;S_mm;Age;Sex\nP01\\T1.nii.gz;c2c3;1,5;-2,0;33;40,0;female\n;;;;;;\n",
        "file\tC2/C3\tage\tsex\np01/t1.nii.gz\t1.5,-2,33\t40\tf\n",
        'image,disc,age,sex\nstudy/P01/T1.nii.gz,"1.5,-2,33",40,F\n',
    ],
)
def test_one_meaning_in_every_spelling(tmp_path, text):
    levels, said = _read(tmp_path, text, around_mm=10.0)
    assert levels[INPUTS[0]] == LevelOptions(C2_C3, 10.0, age_years=40.0, sex="female")
    assert levels[INPUTS[1]] == LevelOptions((), 10.0) and said == "2 of 3 inputs are not in discs.csv"


def test_several_discs_of_an_input_are_several_rows_or_columns(tmp_path):
    two = (DiscMark(3, slice=44), DiscMark(8, slice=12))
    rows = _read(tmp_path, "image,disc,slice\nP02/T1,C2/C3,44\nP02/T1,C7/T1,12\n")[0]
    columns = _read(tmp_path, "image,C2/C3,C7/T1\nP02/T1,44,12\nP09/T1,1,2\n")
    assert rows[INPUTS[1]].discs == columns[0][INPUTS[1]].discs == two
    assert "1 names in discs.csv are no input: p09/t1" in columns[1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("image,disc\nT1,44\n", "T1.nii.gz: write more of the path"),
        ("image,disc\nP01/T1,C9/T9=4\n", "line 2: .*not a disc"),
        ("patient,disc\nP01,44\n", "no input named"),
        ("image,disc,age\nP01/T1,44,old\n", 'line 2: "old" is not an age'),
        ("image,disc,R_mm,A_mm,S_mm\nP01/T1,C2/C3,1,,3\n", "line 2: .*all of R_mm"),
        ("image,disc,R_mm,A_mm,S_mm\nP01/T1,,1,2,3\n", "line 2: .*a name"),
        ("image,disc,age\nP01/T1,44,40\nP01/T1,,41\n", "line 3: another age"),
        ("image,disc,sex\nP01/T1,44,x\n", "line 2: sex x"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_line(tmp_path, text, words):
    with pytest.raises(ConfigurationError, match=words):
        _read(tmp_path, text)


def test_a_batch_takes_the_table_and_keeps_what_it_measured_with_it(tmp_path, capsys):
    mask = make_phantom(PhantomConfig(shape=(40, 32, 8), spacing_mm=(0.7, 0.9, 4.0))).mask
    for name in ("a", "b"):
        write_volume(mask, tmp_path / "masks" / f"{name}.nii.gz")
    table = tmp_path / "discs.csv"
    table.write_text("image,disc\na,4\nb,5\n", encoding="utf-8")
    command = ["measure", str(tmp_path / "masks"), "--disc", str(table), "--output", str(tmp_path / "out")]
    assert main(command) == 0
    discs = [Case.load(tmp_path / "out" / name).levels_asked.discs for name in ("a", "b")]
    assert discs == [(DiscMark(3, slice=4),), (DiscMark(3, slice=5),)]
    table.write_text("image,disc\na,4\nb,6\n", encoding="utf-8")
    capsys.readouterr()
    assert main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert ["(kept)" in line for line in lines[:2]] == [True, False]
    assert main([*command[:-2], "--output", str(tmp_path / "out"), "--age", "40", "--disc", "C2/C3=4"]) == 2
    assert "give a table of all inputs" in capsys.readouterr().err
    anew = [*command[:2], "--output", str(tmp_path / "out"), "--force"]
    for more, kept in ([], (DiscMark(3, slice=6),)), (["--no-find"], ()):
        assert main([*anew, *more]) == 0
        asked = Case.load(tmp_path / "out" / "b").levels_asked
        assert (asked.discs if asked else ()) == kept


def test_another_age_of_the_same_band_changes_nothing(tmp_path):
    case = Case.__new__(Case)
    asked = LevelOptions(C2_C3, age_years=42.0, sex="male")
    norm = {"band_years": "40-50", "sex": "male"}
    for name, value in {"levels_asked": replace(asked, age_years=None, sex=None), "levels": None}.items():
        object.__setattr__(case, name, value)
    assert case.has_levels(LevelOptions()) and not case.has_levels(asked)
    object.__setattr__(case, "levels", type("Levels", (), {"norm": norm}))
    assert case.has_levels(asked) and not case.has_levels(replace(asked, age_years=51.0))
    assert not case.has_levels(replace(asked, around_mm=10.0))
