"""The HTML page stands alone, says everything in words, and lets no text become markup."""

from dataclasses import replace
from html.parser import HTMLParser

import pytest

from SpinalCordSegLib.flags import Flag, case_flag
from SpinalCordSegLib.phantom import PhantomConfig, make_phantom
from SpinalCordSegLib.pipeline import ModelSummary, SegmentOptions, measure_mask
from SpinalCordSegLib.report import page, report

_VOID = {"meta", "img"}


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
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def result():
    phantom = make_phantom(PhantomConfig(shape=(60, 48, 6), spacing_mm=(0.6, 0.8, 3.0)))
    mask = phantom.mask.ijk.copy()
    mask[:, :, 3] = False
    return measure_mask(phantom.mask.with_ijk(mask), "neck")


def _read(result, montage=b"png"):
    return _Reader(page(result, report(result), montage))


def test_page_says_the_results_in_words(result):
    text = _read(result).text
    measures = result.measures
    for words in (
        f"{measures.mean_csa_mm2:.1f} mm²", f"{measures.volume_mm3:.0f} mm³", f"{measures.length_mm:.1f} mm",
        "5 slices, coverage 83 %", "Research use, not for diagnosis", "mask made elsewhere", "Slice 3 : no cord",
        "60 × 48 × 6 voxels of 0.6 × 0.8 × 3 mm, axes RAS",
    ):  # fmt: skip
        assert words in text


def test_page_stands_alone(result):
    read = _read(result)
    assert all(source.startswith("data:image/png;base64,") for source in read.sources)
    assert len(read.sources) == 1
    assert "script" not in read.tags
    assert read.tags.count("svg") == 1
    assert read.tags.count("tr") == 1 + len(result.measures.slices)


def test_without_montage_it_says_so(result):
    assert "Pillow is not installed" in _read(result, None).text


def test_no_text_becomes_markup(result):
    nasty = "<script>alert(1)</script>&"
    model = ModelSummary(nasty, nasty, "0" * 64, nasty, {nasty: [nasty]}, {"dice": {"a<b": 0.91234}})
    flags = (Flag(0, 0, nasty, nasty), case_flag("x", nasty))
    changed = replace(result, case_name=nasty, model=model, flags=flags, device="cpu", mask_state="AI")
    read = _read(changed)
    assert "script" not in read.tags
    assert read.text.count("<script>alert(1)</script>&") > 8
    assert "a<b: 0.9123" in read.text
    assert "not reviewed by a person" in read.text


def test_no_flag_is_said_with_care(result):
    assert "No flag was raised. Look at the pictures" in _read(replace(result, flags=())).text


def test_range_and_truth_are_shown(result):
    changed = replace(result, options=SegmentOptions(slice_range=(1, 4)), truth_volume_mm3=1000.0)
    text = _read(changed).text
    assert "slices 1 to 3 of the image" in text
    assert "against the true 1000 mm³" in text


def test_empty_result_has_a_page(result):
    empty = measure_mask(result.mask.with_ijk(result.mask.ijk & False), "nothing")
    text = _read(empty).text
    assert "the mask is empty" in text
    assert "no cross-sectional area to plot" in text
