"""What ``track`` does: read the visits of one person or of many, compare them, write the results."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from SpinalCordSegLib.command_line.progress import Reporter
from SpinalCordSegLib.errors import Cancelled, ConfigurationError
from SpinalCordSegLib.files import inside, reason, replace_names, without_folders, without_names
from SpinalCordSegLib.image_io import check_code, read_image, write_json, write_text
from SpinalCordSegLib.longitudinal.change import FollowUp, FollowUpOptions, Repeatability, follow_up
from SpinalCordSegLib.longitudinal.registration import align
from SpinalCordSegLib.longitudinal.report import (
    COLUMNS,
    draw_course,
    draw_profiles,
    failed_person_row,
    follow_up_page,
    follow_up_report,
    follow_up_rows,
    run_sentence,
)
from SpinalCordSegLib.longitudinal.visits import (
    PersonSource,
    Visit,
    VisitSource,
    check_visits,
    read_manifest,
    read_visit,
)
from SpinalCordSegLib.report import as_plain, csv_text
from SpinalCordSegLib.volume import Volume

_DONE, _SOME_FAILED = 0, 1
_SMALL = (340.0, 190.0)  # pixels: for a panel
_log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Follow the person given, or every person of the manifest; returns the exit code.

    Raises SpinalCordSegError where a single person, or the command itself, cannot be done.
    """
    if (arguments.manifest is None) == (not arguments.visits):
        raise ConfigurationError("give the result folders of one person, or --manifest FILE: one of the two")
    if arguments.manifest is None:
        person = PersonSource(arguments.person, _sources(arguments), arguments.age)
        _told(_person(person, arguments, reporter), arguments.output, reporter, arguments.drawings)
        return _DONE
    _refuse_per_visit(arguments)
    return _cohort(read_manifest(arguments.manifest), arguments, reporter)


def _cohort(persons: Sequence[PersonSource], arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Raises Cancelled, and OutputError where cohort.csv itself cannot be written."""
    rows: list[dict[str, Any]] = []
    failed = 0
    reporter.start(len(persons))
    for person in persons:
        try:
            result = _person(person, arguments, reporter)
            _told(result, inside(arguments.output, check_code(person.person)), reporter, arguments.drawings)
            rows += follow_up_rows(result)
        except (Cancelled, BrokenPipeError):
            raise
        except Exception as error:  # noqa: BLE001
            _log.debug("detail", exc_info=error)
            failed += 1
            text = reason(error) or type(error).__name__
            reporter.error(text, type(error).__name__, person.person)
            rows.append(failed_person_row(person.person, _without_paths(text, person, arguments.output)))
    write_text(arguments.output / "cohort.csv", csv_text(COLUMNS, rows))
    reporter.text(f"{len(persons) - failed} of {len(persons)} persons done → {arguments.output / 'cohort.csv'}")
    return _SOME_FAILED if failed else _DONE


def _without_paths(text: str, person: PersonSource, output: Path) -> str:
    """``text`` without where a person's visits and images lie and what they are called: often the patient's name."""
    text = replace_names(text, {str(visit.folder) for visit in person.visits}, "a visit")
    for image in {visit.image for visit in person.visits if visit.image is not None}:
        text = without_names(text, image)
    return without_folders(text, output / person.person)


def _person(person: PersonSource, arguments: argparse.Namespace, reporter: Reporter) -> FollowUp:
    check_code(person.person)
    options = FollowUpOptions(
        same=_repeatability(arguments.cov_same, arguments.cov_same_source, "same scanner", "--cov-same"),
        between=_repeatability(
            arguments.cov_between, arguments.cov_between_source, "between scanners", "--cov-between"
        ),
        limits_mm=_limits(arguments.range_mm),
        age_years=arguments.age if person.age_years is None else person.age_years,
        keep_dates=arguments.keep_dates,
        keep_flagged=arguments.keep_flagged,
    )  # fmt: skip
    reporter.progress("read", 0, 0)
    visits = check_visits([read_visit(source) for source in person.visits], options.limits_mm)
    reporter.progress("lay over each other", 0, 0)
    return follow_up(person.person, visits, align(visits, _image_of), options)


def _image_of(visit: Visit) -> Volume:
    if visit.image is None:
        raise ConfigurationError(f"{visit.folder} has no image")
    return read_image(visit.image, visit.series).volume


def _told(result: FollowUp, folder: Path, reporter: Reporter, drawings: bool) -> None:
    """Write a person's results and say what they are."""
    content = follow_up_report(result)
    write_text(folder / "follow_up.csv", csv_text(COLUMNS, follow_up_rows(result)))
    write_text(folder / "follow_up.html", follow_up_page(result, content))
    write_json(folder / "follow_up.json", content)
    if drawings:
        both = {"course": draw_course(result, *_SMALL), "profiles": draw_profiles(result, *_SMALL)}
        write_json(folder / "follow_up.drawings.json", {name: as_plain(one) for name, one in both.items()})
    breaks = [one.message for visit in result.visits for one in visit.differences if one.breaks]
    for text in dict.fromkeys(breaks):
        reporter.text(f"{result.person}: NOT COMPARABLE: {text}")
    for run_ in result.runs:
        reporter.text(f"{result.person}: {run_sentence(run_)}")
    reporter.text(f"{result.person} → {folder / 'follow_up.html'}")


def _sources(arguments: argparse.Namespace) -> tuple[VisitSource, ...]:
    folders = arguments.visits
    per_visit = {
        name: _per_visit(name, getattr(arguments, name), len(folders)) for name in ("date", "disc", "image", "scanner")
    }
    return tuple(
        VisitSource(
            folder=folder,
            date=per_visit["date"][n] or "",
            disc=per_visit["disc"][n] or "",
            image=per_visit["image"][n],
            given={"scanner": per_visit["scanner"][n]} if per_visit["scanner"][n] else {},
        )
        for n, folder in enumerate(folders)
    )


def _per_visit(name: str, given: list[Any] | None, n_visits: int) -> list[Any]:
    if given is not None and len(given) != n_visits:
        raise ConfigurationError(f"--{name} was given {len(given)} times for {n_visits} visits: give it once for each")
    return given or [None] * n_visits


def _refuse_per_visit(arguments: argparse.Namespace) -> None:
    given = [name for name in ("date", "disc", "image", "scanner") if getattr(arguments, name)]
    if given:
        raise ConfigurationError(f"--{given[0]} goes with folders; a manifest has a column for it")


def _repeatability(cov: float | None, source: str | None, setting: str, option: str) -> Repeatability | None:
    if cov is None and source is None:
        return None
    if cov is None or not source:
        raise ConfigurationError(f"{option} and {option}-source go together: a CoV needs its source")
    return Repeatability(cov, source, setting)


def _limits(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(":"))
    except ValueError:
        low, high = 0.0, 0.0
    if not low < high:
        raise ConfigurationError(f'"{text}" is no stretch: give LOW:HIGH in mm, such as --range-mm=-18.5:15.5')
    return low, high
