"""The table of slices: one place for a column, gaps without an answer, CSV that is safe in spreadsheets."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from SpinalCordSegLib.errors import InputFileError
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.slice_table import SliceTable, columns, csv_text, rounded


@pytest.fixture(scope="module")
def table() -> SliceTable:
    phantom = make_phantom(PhantomConfig(shape=(60, 48, 6), spacing_mm=(0.6, 0.8, 3.0), orientation="LPI"))
    mask = phantom.mask.ijk.copy()
    mask[:, :, 2] = False  # stored from superior: canonical slice 3
    return measure_mask(phantom.mask.with_ijk(mask), "neck").slices


def test_slices_run_from_inferior_to_superior_with_gaps(table: SliceTable) -> None:
    rows = list(csv.DictReader(io.StringIO(table.csv())))
    assert [row["slice"] for row in rows] == list("543210")
    assert [row["canonical_slice"] for row in rows] == list("012345")
    heights = [float(row["z_mm"]) for row in rows]
    assert heights == sorted(heights)
    assert (rows[3]["csa_mm2"], rows[3]["rl_mm"], rows[3]["flags"].split()) == ("", "", ["gap"])
    assert float(rows[0]["csa_mm2"]) == pytest.approx(80, rel=0.15)
    assert list(rows[0]) == [column.name for column in columns()]
    assert table.is_gap.tolist() == [False, False, False, True, False, False]
    assert (table.row_of(3), table.row_of(6), table.row_of(-1), SliceTable.of().row_of(0)) == (3, None, None, None)


def test_a_table_comes_back_from_its_csv(table: SliceTable, tmp_path: Path) -> None:
    for one in (table, SliceTable.of()):
        (tmp_path / "slices.csv").write_text(one.csv(), encoding="utf-8")
        assert SliceTable.read(tmp_path / "slices.csv").csv() == one.csv()


def test_a_table_of_an_earlier_release_lacks_a_column_and_is_read(table: SliceTable, tmp_path: Path) -> None:
    *names, last = (column.name for column in columns())
    rows = csv.DictReader(io.StringIO(table.csv()))
    (tmp_path / "slices.csv").write_text(csv_text(names, rows), encoding="utf-8")
    old = SliceTable.read(tmp_path / "slices.csv")
    assert old.csv() == replace(table, **{last: columns()[-1].blank(len(table))}).csv()


def test_evidence_stands_in_the_slices_that_nobody_changed(table: SliceTable) -> None:
    known = replace(table, network_area_mm2=np.arange(6.0), imputed=np.array([0, 1, 0, 0, 1, 0]))
    found = known.evidence(8, {4})
    assert np.array_equal(found["network_area_mm2"], [0, 1, 2, 3, np.nan, 5, np.nan, np.nan], equal_nan=True)
    assert found["imputed"].tolist() == [0, 1, 0, 0, -1, 0, -1, -1]


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "", lambda text: text.replace("canonical_slice", "k"),
        lambda text: text.replace("\n5,", "\nx,"), lambda text: text.replace("\n5,0,", "\n5,1e999,"),
        lambda text: text + "1,2\n", lambda text: "".join(text.splitlines(True)[::2]),
        lambda text: "\0" + "a" * 200_000,
    ],
)  # fmt: skip
def test_what_is_no_table_of_slices_is_refused(table: SliceTable, tmp_path: Path, change) -> None:
    (tmp_path / "slices.csv").write_text(change(table.csv()), encoding="utf-8")
    with pytest.raises(InputFileError, match=r"slices\.csv cannot be read"):
        SliceTable.read(tmp_path / "slices.csv")


def test_spreadsheets_are_not_made_to_compute() -> None:
    rows = [{"case": "=1+1", "z": "-3.5", "reason": None}]
    assert csv_text(("case", "z", "reason"), rows) == "case,z,reason\n'=1+1,-3.5,\n"


def test_nothing_is_none() -> None:
    assert (rounded(np.nan, 2), rounded(np.inf, 2), rounded(1.23456, 2)) == (None, None, 1.23)
    assert str(rounded(-0.0001, 2)) == "0.0"
