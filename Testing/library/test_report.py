"""Figures, page and PDF: the right slices the right way round, every state of a case, and no text becomes markup."""

import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from math import nan
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PictureFile

from SpinalCordSegLib import report as report_module
from SpinalCordSegLib.case import ModelSummary
from SpinalCordSegLib.errors import MissingPackageError
from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.image_io import Image
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import measure_mask
from SpinalCordSegLib.report import (
    CURVE,
    FLAG,
    GAP,
    HEALTHY,
    CordScene,
    area_plot,
    chosen_slices,
    montage_png,
    render,
    report_pdf,
)
from SpinalCordSegLib.slice_table import SliceTable
from SpinalCordSegLib.vertebral_levels import DiscMark, LevelOptions
from SpinalCordSegLib.volume import Volume

pytestmark = pytest.mark.usefixtures("pictures")

TILTED = PhantomConfig(shape=(60, 48, 8), spacing_mm=(0.6, 0.9, 4.0), tilt_deg=(8.0, -5.0))


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(TILTED)


@pytest.fixture(scope="module")
def result():
    made = make_phantom(PhantomConfig(shape=(60, 48, 6), spacing_mm=(0.6, 0.8, 3.0)))
    mask = made.mask.ijk.copy()
    mask[:, :, 3] = False
    return measure_mask(made.mask.with_ijk(mask), "neck")


# ---- The scene


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR"])
def test_axial_view_is_radiological_and_in_mm(phantom, orientation):
    other = make_phantom(replace(TILTED, orientation=orientation))
    marked = other.image.ijk.copy()
    right = np.linalg.inv(other.image.ijk_to_ras) @ np.append(np.add(TILTED.centre_ras_mm, (12, 0, 2)), 1)
    marked[tuple(np.rint(right[:3]).astype(int))] = 5000  # 12 mm to the patient's right in canonical slice 4
    view = CordScene.of(other.image.with_ijk(marked), other.mask).axial(4, 30.0, 5.0)
    assert view.grey.shape == (150, 150)
    assert np.argmax(np.where(view.grey >= 1, 1, 0).sum(axis=0)) < 40
    assert view.mask.sum() / 25 == pytest.approx(phantom.mask.ijk[:, :, 4].sum() * 0.54, rel=0.05)
    rows, columns = np.nonzero(view.mask)
    assert (rows.mean(), columns.mean()) == pytest.approx((74.5, 74.5), abs=2)


def test_planes_follow_a_tilted_cord(phantom):
    scene = CordScene.of(phantom.image, phantom.mask)
    sagittal, coronal = (scene.along(axis, 40.0, 2.5) for axis in (1, 2))
    assert sagittal.grey.shape == coronal.grey.shape == (80, 100)
    assert sagittal.mask.any(axis=1).all() and coronal.mask.any(axis=1).all()
    top, bottom = (np.flatnonzero(coronal.mask[row]).mean() for row in (2, -3))
    assert top < bottom  # leans to the patient's right on the way up: to the left of the picture
    top, bottom = (np.flatnonzero(sagittal.mask[row]).mean() for row in (2, -3))
    assert top > bottom  # leans backwards: to the right of the picture


def test_chosen_slices_hold_the_ends_and_the_flagged():
    assert chosen_slices([3, 4, 5], [4], 18) == [3, 4, 5]
    chosen = chosen_slices(range(100), [41, 42], 10)
    assert len(chosen) == 10
    assert {0, 41, 42, 99} <= set(chosen)
    assert len(chosen_slices(range(100), list(range(50)), 10)) == 10


# ---- Figures

AREAS = (
    (9, 0.0, 80.0, ""),
    (8, 3.0, 70.0, ""),
    (7, 6.0, nan, "gap"),
    (6, 9.0, 75.0, ""),
    (5, 12.0, 110.0, "area_jump"),
)


def _table(areas=AREAS, **known):
    numbers, z_mm, area, flags = zip(*areas, strict=True)
    raw = np.array(area) + 2
    return SliceTable.of(len(areas), slice=numbers, z_mm=z_mm, csa_mm2=area, csa_raw_mm2=raw, flags=flags, **known)


def _places(pixels, colour):
    """Rows and columns of the pixels of a colour."""
    return np.nonzero((pixels == [int(colour[at : at + 2], 16) for at in (1, 3, 5)]).all(axis=2))


def _drawn(table, mean=78.0, **options):
    """The axes are 900 pixels long along z."""
    z_span = options.get("z_span_mm")
    return area_plot(table, mean, pixels=(320, 925) if z_span else (961, 300), letter=10.0, **options).pixels


def test_gap_is_shaded_and_flagged_slices_are_marked_by_number():
    pixels = _drawn(_table())  # z from -3 to 15 mm in columns 50 to 950
    _, gap = _places(pixels, GAP)
    assert (gap.min(), gap.max()) == pytest.approx((50 + 7.5 * 50, 50 + 10.5 * 50), abs=1.5)
    rows, columns = _places(pixels, FLAG)
    assert columns.mean() == pytest.approx(50 + 15 * 50, abs=1.5)
    above = pixels[: rows.min() - 2].astype(int)  # the number stands there
    orange = above[..., 0] - above[..., 2] > 60
    assert np.nonzero(orange)[1].mean() == pytest.approx(columns.mean(), abs=1.5)


def test_z_runs_upwards_beside_a_picture():
    assert _places(_drawn(_table(AREAS[:1])), CURVE)[0].size  # a single slice has no step
    rows, _ = _places(_drawn(_table(), z_span_mm=(-1.5, 13.5)), FLAG)  # 15 mm in rows 900 to 0
    assert rows.mean() == pytest.approx(900 - 13.5 * 60, abs=1.5)


def test_healthy_adults_are_shaded_at_c2():
    table = _table(level=("C3", "C3", "C2", "C2", ""))
    assert not _places(_drawn(table), HEALTHY)[0].size
    _, columns = _places(_drawn(table, norm={"p5_mm2": 55.0, "p95_mm2": 79.0}), HEALTHY)
    assert (columns.min(), columns.max()) == pytest.approx((50 + 7.5 * 50, 50 + 13.5 * 50), abs=3)


@pytest.mark.parametrize("table", [SliceTable.of(), _table([(0, 0.0, nan, "")])])
def test_no_area_is_a_sentence(table):
    pixels = _drawn(table, nan)
    assert not _places(pixels, CURVE)[0].size
    assert (pixels != 255).any()


def _pixels(png):
    return np.asarray(PictureFile.open(BytesIO(png)).convert("RGB"))


def test_montage_shows_outlines_and_is_the_same_every_time(phantom):
    image = Image(phantom.image, Path("x"), "x")
    made = measure_mask(phantom.mask, "Fall Müller $ 日本", image=image)
    png = montage_png(made)
    assert _pixels(png).shape[1] == 1500
    assert (_pixels(png) == (244, 214, 49)).all(axis=2).sum() > 2000
    assert montage_png(made) == png


@pytest.mark.parametrize("shape", [(60, 48, 1), (1, 1, 1), (3000, 40, 2)])
def test_montage_of_odd_volumes_without_cord(shape):
    grid = Volume.from_ijk(np.zeros(shape, np.float32), np.diag([0.6, 0.9, 4.0, 1.0]))
    empty = measure_mask(grid.with_ijk(np.zeros(shape, bool)), "empty")
    assert _pixels(montage_png(empty)).shape[1] == 1500


# ---- The page


class _Reader(HTMLParser):
    """Checks that elements are closed in order and collects text, tags and what is loaded from elsewhere."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.words: list[str] = []
        self.sources: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in {"meta", "img"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def _read(result, picture=b"png", **changes):
    return _Reader(render(replace(result, **changes), picture))


def test_page_says_the_results_in_words(result):
    text = _read(result).text
    measures = result
    for words in (
        f"{measures.mean_csa_mm2:.1f} mm²", f"{measures.volume_mm3:.0f} mm³", f"{measures.length_mm:.1f} mm",
        "5 slices, coverage 83 %", "Research use, not for diagnosis", "mask made elsewhere", "Slice 3 : no cord",
        "60 × 48 × 6 voxels of 0.6 × 0.8 × 3 mm, axes RAS",
    ):  # fmt: skip
        assert words in text


def test_bands_and_the_line_of_a_contrast_are_shown(result):
    lines = {"T2w-like": "a line of its own"}
    model = ModelSummary("m", "1", "0" * 64, "", {"lines": lines})
    bands = replace(result.slices, csa_95_mm2=np.full(len(result.slices), 3.0))
    text = _read(result, model=model, contrast="T2w-like", slices=bands, mean_csa_95_mm2=1.25).text
    for words in ("T2w-like, by grey values; a line of its own", "95 % band ± 1.2 mm²", "Pale blue: 95 % band."):
        assert words in text
    assert "is not known" in _read(result, model=model, contrast="other").text


def test_page_stands_alone(result):
    read = _read(result)
    assert all(source.startswith("data:image/png;base64,") for source in read.sources)
    assert len(read.sources) == 2
    assert "script" not in read.tags
    assert read.tags.count("tr") == 1 + len(result.slices)
    assert len(_read(result, None).sources) == 1


def test_no_text_becomes_markup(result):
    nasty = "<script>alert(1)</script>&"
    model = ModelSummary(nasty, nasty, "0" * 64, nasty)
    flags = (Flag(0, 0, nasty, nasty), case_flag("x", nasty))
    read = _read(result, model=model, flags=flags, device=nasty, mask_state="AI")
    assert "script" not in read.tags
    assert read.text.count("<script>alert(1)</script>&") > 6
    assert "not reviewed by a person" in read.text


def test_range_and_levels_are_shown(result):
    marked = LevelOptions((DiscMark(3, slice=2),), age_years=40, sex="female")
    leveled = measure_mask(result.mask, "neck", levels=marked)
    text = _read(leveled, range=(1, 4), flags=()).text
    for words in ("slices 1 to 3 of the image", "No flag was raised", "Area by vertebral level", "No comparison with"):
        assert words in text


def test_empty_result_has_a_page_and_a_pdf(result):
    empty = measure_mask(result.mask.with_ijk(result.mask.ijk & False), "nothing")
    assert "the mask is empty" in _read(empty).text
    assert _pages(report_pdf(empty, None)) == 1


def test_without_packages_the_page_goes_without_figures_or_names_what_is_missing(result, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setitem(sys.modules, "PIL", None)
    report_module._letters.cache_clear()
    assert len(_read(result).sources) == 1
    assert montage_png(result) is None
    monkeypatch.setitem(sys.modules, "jinja2", None)
    report_module.template.cache_clear()
    with pytest.raises(MissingPackageError, match="pip install Jinja2"):
        _read(result)
    with pytest.raises(MissingPackageError, match="pip install matplotlib"):
        report_pdf(result, None)


# ---- The PDF


def _pages(document: bytes) -> int:
    assert document.startswith(b"%PDF-")
    assert document.rstrip().endswith(b"%%EOF")
    return document.count(b"/Type /Page ") + document.count(b"/Type /Page\n") + document.count(b"/Type /Page>")


def test_pdf_has_a_page_for_the_pictures_and_goes_on_for_a_long_table(result):
    picture = BytesIO()
    PictureFile.new("RGB", (150, 190), "#336699").save(picture, format="PNG")
    flags = (*result.flags, Flag(4, 4, "x", "日本 <b>& $x^2$ " + "w" * 400))
    n = 60
    table = SliceTable.of(n, slice=range(n), z_mm=np.arange(n), csa_mm2=np.full(n, 70.0))
    assert _pages(report_pdf(replace(result, flags=flags, slices=table), picture.getvalue())) == 4
