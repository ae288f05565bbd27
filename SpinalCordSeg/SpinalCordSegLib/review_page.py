"""A page to review a folder of cases in a browser, without a server, and the way its decisions come back.

index.html shows a row a case and a large view that is worked by keys; its pictures lie in index_files. What a person
decides stays in the browser until it is saved as review.csv and taken in (``take_decisions``). No patient data.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from SpinalCordSegLib.case import Case, update_review
from SpinalCordSegLib.case_folder import read_backdrop
from SpinalCordSegLib.errors import ConfigurationError, InputFileError, SpinalCordSegError, WouldReplaceError
from SpinalCordSegLib.files import atomic_write, now_utc, output_errors, read_table
from SpinalCordSegLib.image_io import SEGMENT_COLOUR_RGB
from SpinalCordSegLib.report import CordScene, chosen_slices, outline, refuse_strangers_page, template
from SpinalCordSegLib.review import (
    DECISIONS,
    STATES,
    TO_CORRECT,
    UNTOUCHED,
    Review,
    decided,
    opened,
    review_text,
    with_note,
)
from SpinalCordSegLib.slice_table import rounded
from SpinalCordSegLib.version import SOFTWARE_VERSION
from SpinalCordSegLib.vertebral_levels import UPPER_END
from SpinalCordSegLib.work_list import UNREADABLE, WorkItem, WorkList, failed_inputs

PAGE, PICTURES = "index.html", "index_files"
_TITLE = "Spinal cords to review"
_TILES, _TILES_A_ROW, _TILE_MM, _PIXELS_PER_MM = 18, 6, 28.0, 5.0
_PLANES = (("sagittal", 1, 60.0), ("coronal", 2, 25.0))  # name, axis, width in mm
_PLANE_HEIGHT, _PLANE_PIXELS_PER_MM, _ROW_HEIGHT = 480, 4.0, 96
_ROW_SAGITTAL_MM, _ROW_AXIAL_MM = 70.0, 30.0
_QUALITY = 80  # of JPEG


def write_review_page(
    work: WorkList, folder: Path, progress: Callable[[int, int], None] = lambda _done, _of: None
) -> None:
    """Make index.html of the cases of ``work`` in ``folder``, and the pictures that are not there yet. ``progress``
    gets (cases done, cases).

    Inputs that gave no case are shown as summary.csv has them; pictures of earlier masks are removed. Raises
    OutputError, InputFileError (summary.csv), MissingPackageError without Jinja2.
    """
    pictures, page = folder / PICTURES, folder / PAGE
    refuse_strangers_page(page, _TITLE)
    with output_errors(pictures):
        pictures.mkdir(exist_ok=True)
        used: set[str] = set()
        with atomic_write(page) as temporary:
            template("index.html").stream(
                cases=_entries(work, folder, used, progress),
                made=now_utc(),
                folder=PICTURES,
                software_version=SOFTWARE_VERSION,
            ).dump(str(temporary), "utf-8")
        for path in pictures.glob("????????????????*"):
            if path.name[:16] not in used and path.name[16:] in _ENDS:
                path.unlink(missing_ok=True)


def _entries(
    work: WorkList, folder: Path, used: set[str], progress: Callable[[int, int], None]
) -> Iterator[dict[str, Any]]:
    """What the page shows of each input, one after the other, as their curves fill much memory. ``used``: gets the
    names of the pictures."""
    for number, item in enumerate(work.items, 1):
        entry = _entry(item, work.remarks(item), folder / PICTURES)
        used.add(entry.get("picture", ""))
        progress(number, len(work.items))
        yield entry
    for case, reason in failed_inputs(folder, {item.case for item in work.items}):
        yield {"name": case, "state": "failed", "problem": reason}


def _entry(item: WorkItem, remarks: Iterable[str], pictures: Path) -> dict[str, Any]:
    """What the page shows of a case, JSON-ready."""
    found: dict[str, Any] = {"name": item.case, "state": item.state, "problem": item.problem}
    case = item.content
    if case is None:
        return found
    table, review = case.slices, case.review
    areas: dict[bool, dict[str, float | None]] = {False: {}, True: {}}  # by discs, and below the upper end
    for row in () if case.levels is None else case.levels.rows:
        areas[row.basis == UPPER_END][row.name] = rounded(row.mean_csa_mm2, 1)
    flags = [("" if one.slice is None else f"slice {one.slice}", one.message) for one in case.flags]
    return found | {
        "decided": "" if review.state in UNTOUCHED else review_text(review),
        "note": review.note,
        "mask": case.mask_sha256,
        "folder": item.folder.name,
        "source": case.input.source,
        "scanner": case.scanner,
        "levels": areas[False],
        "below": areas[True],
        "disc": case.discs_from,
        "area": rounded(case.mean_csa_mm2, 1),
        "band": rounded(case.mean_csa_95_mm2, 1),
        "contrast": case.contrast,
        "volume": rounded(case.volume_mm3, 0),
        "length": rounded(case.length_mm, 1),
        "counted": case.counted_text,
        "imputed": rounded(case.imputed_share, 3),
        "doubt": rounded(case.queue[0].score, 2) if case.queue else 0,
        "kinds": list(dict.fromkeys(flag.kind for flag in case.flags)),
        "flags": flags,
        "remarks": list(remarks),
        "z": [rounded(z, 1) for z in table.z_mm.tolist()],
        "csa": [rounded(area, 1) for area in table.csa_mm2.tolist()],
        "flagged": np.flatnonzero(table.flags != "").tolist(),
        "hollow": np.flatnonzero(table.is_imputed).tolist(),
        **_pictures(case, pictures),
    }


# The pictures of a case: grey values, the outline apart from them, so that it can be hidden, and a small one.

_ENDS = (".jpg", ".png", "-row.jpg")


def _pictures(case: Case, folder: Path) -> dict[str, Any]:
    """The name of a case's pictures without their ends, and where each part lies in them. They are drawn unless they
    are there: the name is that of image, mask and slices. {} where the mask cannot be read, or is another one by now.
    """
    grid, table = case.input, case.slices
    axis, letter = next((n, letter) for n, letter in enumerate(grid.orientation) if letter in "SI")
    n, step = grid.shape[axis], grid.spacing_mm[axis]
    filled = table.canonical_slice[~table.is_gap].tolist()
    shown = chosen_slices(filled or range(n), table.canonical_slice[table.flags != ""].tolist(), _TILES)[::-1]
    scale = min(_PLANE_HEIGHT / (n * step), _PLANE_PIXELS_PER_MM)
    size = round(_TILE_MM * _PIXELS_PER_MM)
    parts: list[dict[str, Any]] = []
    x = 0
    for title, _, width_mm in _PLANES:
        width, height = round(width_mm * scale), max(1, round(n * step * scale))
        parts.append({"title": title, "x": x, "y": 0, "w": width, "h": height, "scale": scale})
        x += width
    for number, k in enumerate(shown):
        title = f"slice {k if letter == 'S' else n - 1 - k}"
        place = {"x": x + number % _TILES_A_ROW * size, "y": number // _TILES_A_ROW * size, "w": size, "h": size}
        about = {"row": table.row_of(k), "at": 1 - (k + 0.5) / n, "scale": _PIXELS_PER_MM}
        parts.append({"title": title} | place | about)
    levels = {level: table.canonical_slice[table.level == level] for level in dict.fromkeys(table.level) if level}
    spans = [(str(level), 1 - (int(k.max()) + 1) / n, 1 - int(k.min()) / n) for level, k in levels.items()]
    name = hashlib.sha256(
        repr((grid.fingerprint, grid.image_fingerprint, case.mask_sha256, shown, parts)).encode()
    ).hexdigest()[:16]
    if not all((folder / f"{name}{end}").exists() for end in _ENDS):
        try:
            scene = CordScene.of(read_backdrop(case.folder, case.mask) if case.folder else None, case.mask)
        except InputFileError:
            return {}
        _draw(scene, shown, parts, scale, folder / name)
    return {"picture": name, "parts": parts, "spans": spans}


def _draw(scene: CordScene, shown: Sequence[int], parts: Sequence[Mapping[str, Any]], scale: float, name: Path) -> None:
    from PIL import Image

    views = [scene.along(axis, width_mm, scale) for _, axis, width_mm in _PLANES]
    views += [scene.axial(k, _TILE_MM, _PIXELS_PER_MM) for k in shown]
    shape = tuple(max(part[start] + part[side] for part in parts) for start, side in (("y", "h"), ("x", "w")))
    grey, line = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    for part, view in zip(parts, views, strict=True):
        place = np.s_[part["y"] : part["y"] + part["h"], part["x"] : part["x"] + part["w"]]
        grey[place], line[place] = np.rint(255 * view.grey), outline(view.mask, 1)
    drawn = Image.fromarray(line.astype(np.uint8)).convert("P")
    drawn.putpalette([0, 0, 0, *SEGMENT_COLOUR_RGB])
    row_scale = _ROW_HEIGHT / (len(scene.mask) * scene.spacing_mm[0])
    small = [
        scene.along(1, _ROW_SAGITTAL_MM, row_scale),
        scene.axial(shown[len(shown) // 2], _ROW_AXIAL_MM, _ROW_HEIGHT / _ROW_AXIAL_MM),
    ]
    row = Image.fromarray(np.hstack([view.rgb(1)[:_ROW_HEIGHT] for view in small]))
    pictures = (
        (Image.fromarray(grey), {"quality": _QUALITY}),
        (drawn, {"transparency": 0, "bits": 1}),
        (row, {"quality": _QUALITY}),
    )
    for end, (picture, options) in zip(_ENDS, pictures, strict=True):
        temporary = name.with_name(f"{name.name}.part")  # not synced to the disk: it can be drawn again
        picture.save(temporary, "png" if end == ".png" else "jpeg", optimize=True, **options)
        os.replace(temporary, name.with_name(f"{name.name}{end}"))


# Decisions from the browser, or from any table with the columns case and state.

_TAKEN_IN = (*DECISIONS, TO_CORRECT)
_NO_DECISION = ("", *STATES, UNREADABLE, "failed")


def take_decisions(work: WorkList, table: Path, who: str = "") -> tuple[list[str], list[str]]:
    """Put the decisions of a review.csv into the cases; gives what was done and what was refused, a line a case.

    Columns: case, state (accepted, rejected, to correct; other states, and none, change nothing, other words are
    refused); optional reviewer (else ``who``), when, note, mask_sha256 and state_before. Where the state is another one
    than ``state_before`` by now, or
    without that column a person's decision, and where the mask is another one, the case stays as it is. Raises
    InputFileError.
    """
    rows = read_table(table)
    if not rows or not {"case", "state"} <= rows[0][1].keys():
        raise InputFileError(f"{table.name} holds no decisions: expected the columns case and state, and a row a case")
    done, refused = [], []
    for line, row in rows:
        try:
            item = work.item(row["case"])
            if _take(item, row, who):
                done.append(f"{item.case}: {row['state']}")
        except SpinalCordSegError as error:
            refused.append(f"{table.name}, line {line}: {error}")
    return done, refused


def _take(item: WorkItem, row: Mapping[str, str], who: str) -> bool:
    """Whether there was something to do."""
    case, who = item.content, row.get("reviewer") or who
    if case is None:
        raise InputFileError(f"{item.case} cannot be reviewed: {item.problem}")
    if (asked := row["state"].lower()) not in _NO_DECISION:
        raise ConfigurationError(f'{item.case}: "{row["state"]}" is no decision: write {", ".join(_TAKEN_IN)}')
    state = asked if asked in _TAKEN_IN else case.review.state
    note = row.get("note") or case.review.note
    if (case.review.state, case.review.note) == (state, note):
        return False
    if row.get("mask_sha256", "") not in ("", case.mask_sha256):
        raise WouldReplaceError(f"{item.case} has another mask by now than the one that was looked at: look again")
    before = row.get("state_before", "")

    def change(there: Review) -> Review:
        if there.state != (before or there.state) or (not before and there.is_finished and there.state != state):
            raise WouldReplaceError(
                f"{item.case} is {review_text(there)} by now, and stays so; to change it: review {item.folder} --reopen"
                " --by NAME"
            )
        if there.state == state:  # a note alone: whose decision it is, and since when, stays
            return with_note(there, note)
        review = decided(opened(there, who), state, who, case.mask_sha256)
        when = _later(row.get("when", ""), max(there.when, case.created)) or review.when
        return with_note(replace(review, when=when), note)

    update_review(item.folder, change, decides_on=case.mask_sha256)
    return True


def _later(when: str, than: str) -> str:
    """``when`` in UTC, where it is a time after ``than`` and not in the future; else ""."""
    try:
        utc = datetime.fromisoformat(when.replace("Z", "+00:00")).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return ""
    text = utc.isoformat(timespec="seconds")
    return text if than < text <= now_utc() else ""
