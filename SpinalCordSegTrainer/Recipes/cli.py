"""``python -m Recipes COMMAND``: the commands that make and judge the model that ships."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from Recipes import levels, same_answer, table1
from Recipes.calibration import average_models, calibrate_checkpoint, offset_boundary
from Recipes.simulation.atlas import read_maps
from Recipes.simulation.people import SeriesConfig, SimulatedConfig
from Recipes.simulation.training_slices import (
    REHEARSAL,
    VALIDATION_SHAPES,
    SimulateConfig,
    simulate_cache,
    training_slices,
    write_rehearsal,
)
from Recipes.validation import report
from Recipes.validation.found_discs import judge_finder, judged_head, upper_end_figures
from Recipes.validation.public_volumes import REAL_SETS, Validator, validate_real
from Recipes.validation.robustness import robustness
from Recipes.validation.simulated_people import simulated_figures, validate_simulated
from Recipes.validation.simulated_series import measured_series, series_figures
from SpinalCordSegLib.console import Parser, Reporter, add_command, new_program, run_program
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import write_json, write_text
from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint, save_checkpoint
from SpinalCordSegTrainerLib.batches import Slices
from SpinalCordSegTrainerLib.cli import (
    add_configuration,
    add_device,
    add_learning,
    add_only_labelled,
    add_output,
    add_reading,
    base_configuration,
    chosen_device,
    configuration,
    epochs_to,
    matched_files,
    stop_in_order,
    write_slices,
)
from SpinalCordSegTrainerLib.config import with_settings
from SpinalCordSegTrainerLib.slice_cache import SliceCache, evenly

SIMULATED, DISTURBED = "simulated", "disturbed"
_QUICK_NECKS = 12
_MOST_SLICES = 400  # to calibrate on


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    return run_program(build_parser(), argv)


def build_parser() -> Parser:
    parser, commands = new_program("Recipes", "Make and judge the model that ships.")

    simulate = add_command(commands, "simulate", _simulate, "draw axial necks of known cord area into a slice cache")
    add_output(simulate)
    simulate.add_argument("--maps", type=Path, required=True, help="folder that holds atlas/ and shapes/ (label maps)")
    simulate.add_argument("--count", type=positive, default=6000, help="slices to draw (default: %(default)s)")
    simulate.add_argument("--seed", type=int, default=1, help="the same seed gives the same slices")
    simulate.add_argument("--phantoms", type=int, default=0, help="phantoms to add, six slices each")
    simulate.add_argument(
        "--hold-out", action="append", metavar="SHAPE", help="cord shape kept for validation; repeatable"
    )
    simulate.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE", help="setting of the simulation"
    )

    rehearsal = add_command(
        commands, "rehearsal", _rehearsal, "draw the slices to rehearse while corrections are learnt"
    )
    rehearsal.add_argument("--maps", type=Path, required=True, help="folder that holds atlas/ and shapes/ (label maps)")
    rehearsal.add_argument("--output", type=Path, required=True, metavar="FILE", help="file to write")

    cache = add_command(commands, "cache", _cache, "keep the slices of labelled images, normalised, for training")
    cache.add_argument("data", type=Path)
    cache.add_argument(
        "--boundary-offset-mm", type=float, default=0.0, help="how far inside the label's contour the model shall draw"
    )
    add_output(cache)
    add_configuration(cache)
    add_reading(cache)
    add_only_labelled(cache)

    average = add_command(commands, "average", _average, "average the weights of runs that began at the same weights")
    average.add_argument("models", type=Path, nargs="+")
    average.add_argument("--output", type=Path, required=True, metavar="FILE", help="weights file to write")

    calibrate = add_command(
        commands, "calibrate", _calibrate, "fit scale and bias of the logit so that the area is right on average"
    )
    calibrate.add_argument("model", type=Path)
    calibrate.add_argument("--cache", type=Path, required=True, help="slice cache that was not trained on")
    calibrate.add_argument("--output", type=Path, metavar="FILE", help="weights file to write (default: MODEL)")
    add_device(calibrate)

    alike = add_command(
        commands, "same-answer", _same_answer, "teach a model to draw one outline, however sharp and noisy the image is"
    )
    alike.add_argument("model", type=Path)
    alike.add_argument("--teacher", type=Path, metavar="MODEL", help="whose outline to draw (default: the model's own)")
    for name, what in (
        ("simulated", "simulated slices"),
        ("masked", "slices of real images with masks"),
        ("held-out", "simulated slices on which the area stays as it was"),
    ):
        alike.add_argument(f"--{name}", type=Path, action="append", required=True, metavar="CACHE", help=what)
    alike.add_argument("--image", type=Path, required=True, help="T1w image without a mask")
    alike.add_argument("--updates", type=positive, default=2600, help="(default: %(default)s)")
    alike.add_argument("--seed", type=int, default=7)
    alike.add_argument("--keep", type=float, default=0.0, metavar="SHARE", help="of the model's weights in the mean")
    alike.add_argument(
        "--bright-fluid-threshold",
        type=float,
        default=0.5,
        metavar="P",
        help="probability of the outline on T2w and T2*w images",
    )
    alike.add_argument("--output", type=Path, required=True, metavar="FILE", help="weights file to write")

    compare = add_command(
        commands, "table1", _table1, "train the paper's nine comparisons, and one more, on any data",
        "All on the same slices, split and seed. Run it again to go on where it was stopped.",
    )  # fmt: skip
    add_learning(compare)
    add_reading(compare)
    compare.add_argument("--scaled", action="store_true", help="two hours on two cores instead of days; two seeds")
    compare.add_argument(
        "--only", action="append", default=[], metavar="ROW", help="just this row, by its number; repeatable"
    )

    validate = add_command(commands, "validate", _validate, "measure a model on public volumes and simulated people")
    _add_judged(validate)
    validate.add_argument("--only", action="append", default=[], metavar="SET", help="just this set; repeatable")
    validate.add_argument("--quick", action="store_true", help=f"{_QUICK_NECKS} simulated necks instead of 200")
    validate.add_argument("--count", type=positive, help="simulated necks; pairs and touching ones in proportion")

    series = add_command(
        commands, "validate-series", _validate_series, "measure a model on simulated persons with known atrophy"
    )
    _add_judged(series)
    series.add_argument("--network", type=positive, default=40, help="series segmented by the model, at least 4")
    series.add_argument("--series", type=positive, default=500, help="series drawn with its measured error")
    series.add_argument(
        "--same-scanner", action="store_true", help="contrast and noise stay the same from visit to visit"
    )

    finder = add_command(commands, "levels", _levels, "train the finder of discs, and judge it")
    finder.add_argument("step", choices=("train", "judge", "upper-end"))
    finder.add_argument("--data", type=Path, default=os.environ.get("SPINALCORDSEG_DATA"), help="folder of public data")
    finder.add_argument("--finder", type=Path, help="finder to judge (default: the one in the output folder)")
    finder.add_argument("--count", type=positive, default=500, help="simulated necks to judge on")
    finder.add_argument("--seed", type=int, default=0, help="other simulated heads")
    add_output(finder)

    return parser


def positive(text: str) -> int:
    """A whole number above 0. Raises ArgumentTypeError."""
    if not (text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def _add_judged(parser: Parser) -> None:
    data = os.environ.get("SPINALCORDSEG_DATA")
    parser.add_argument("--data", type=Path, required=data is None, default=data, help="folder of public data")
    parser.add_argument("--model", help="a name or a weights file (default: the model that comes along)")
    parser.add_argument("--seed", type=int, default=0, help="other simulated people")
    parser.add_argument("--write-card", action="store_true", help="keep the figures in the weights file's own card")
    add_output(parser)
    add_device(parser)


def _simulate(arguments: argparse.Namespace, reporter: Reporter) -> None:
    config = SimulateConfig(
        count=arguments.count,
        seed=arguments.seed,
        hold_out=tuple(arguments.hold_out or VALIDATION_SHAPES),
        phantoms=arguments.phantoms,
    )
    written = simulate_cache(
        arguments.maps,
        arguments.output,
        with_settings(config, arguments.settings),
        progress=lambda done, of: reporter.progress("slices", done, of),
    )
    reporter.text(f"{len(written)} slices, {len(set(written.info.subjects))} necks: {arguments.output}")


def _rehearsal(arguments: argparse.Namespace, reporter: Reporter) -> None:
    maps = read_maps(arguments.maps, hold_out=REHEARSAL.hold_out)
    slices = training_slices(maps, REHEARSAL, lambda done, of: reporter.progress("slices", done, of))
    reporter.text(f"{len(write_rehearsal(slices, REHEARSAL, arguments.output))} slices: {arguments.output}")


def _cache(arguments: argparse.Namespace, reporter: Reporter) -> None:
    config, offset_mm = base_configuration(arguments), arguments.boundary_offset_mm
    options: dict[str, Any] = {"only_labelled": arguments.only_labelled, "boundary_offset_mm": offset_mm}
    if offset_mm:
        pixel_mm = config.normalisation.pixel_mm
        if pixel_mm is None:
            raise ConfigurationError("a boundary offset in mm needs normalisation.kind=fixed_pixel")
        options["adjust"] = partial(offset_boundary, pixel_mm=pixel_mm, offset_mm=offset_mm)
    write_slices(matched_files(arguments), arguments.output, config, reporter, **options)


def _average(arguments: argparse.Namespace, reporter: Reporter) -> None:
    mean = average_models(arguments.models, arguments.output)
    reporter.text(f"mean of {len(arguments.models)} models: {arguments.output} (SHA-256 {mean.sha256})")


def _calibrate(arguments: argparse.Namespace, reporter: Reporter) -> None:
    opened = SliceCache.open(arguments.cache)
    held_out = Slices(opened, evenly(np.arange(len(opened)), _MOST_SLICES))
    fit = calibrate_checkpoint(
        load_checkpoint(arguments.model),
        held_out,
        chosen_device(arguments),
        arguments.output or arguments.model,
    )
    before, after = fit.area_percent_before, fit.area_percent_after
    reporter.text(
        f"scale {fit.calibration.scale:.3f}, bias {fit.calibration.bias:+.3f}: median area error {before:+.2f} %"
        f" -> {after:+.2f} % on {fit.n_slices} slices ({fit.n_left_out} left out)"
    )


def _same_answer(arguments: argparse.Namespace, reporter: Reporter) -> None:
    base, teaching = (
        load_checkpoint(find_model(one or arguments.model)) for one in (arguments.model, arguments.teacher)
    )
    of = lambda paths: [SliceCache.open(path) for path in paths]  # noqa: E731
    with TemporaryDirectory() as folder:
        unlabelled = same_answer.unlabelled_slices(arguments.image, teaching, Path(folder) / "image")
        taught = same_answer.teach(
            base, teaching, of(arguments.simulated), of(arguments.masked), [unlabelled], of(arguments.held_out)[0],
            arguments.updates, arguments.seed, lambda update: reporter.progress("updates", update, arguments.updates),
            arguments.keep,
        )  # fmt: skip
    taught = replace(
        taught, calibration=replace(taught.calibration, bright_fluid_threshold=arguments.bright_fluid_threshold)
    )
    reporter.text(f"{arguments.output} (SHA-256 {save_checkpoint(taught, arguments.output).sha256})")


def _table1(arguments: argparse.Namespace, reporter: Reporter) -> None:
    output, scale, seeds = arguments.output, *((table1.SCALE, 2) if arguments.scaled else (1, 1))
    rows = [row for row in table1.ROWS if not arguments.only or row.key.partition("-")[0] in arguments.only]
    if not rows:
        raise ConfigurationError(f"--only {', '.join(arguments.only)}: rows are numbered 1 to {len(table1.ROWS)}")
    device = chosen_device(arguments)
    base = configuration(arguments, reporter)
    if arguments.scaled:
        base = with_settings(table1.scaled(base), arguments.settings)  # what was asked for wins
    with stop_in_order(output, arguments) as stopped:
        results = table1.train_rows(
            rows,
            base,
            output,
            device,
            scale=scale,
            seeds=seeds,
            report=epochs_to(reporter),
            stopped=stopped,
            begun=lambda key: reporter.text(f"row {key}"),
        )
    page = table1.write_experiment(results, table1.data_note(base, scale, device), output)
    reporter.result(page, table=str(output / "table1.json"))


def _validator(arguments: argparse.Namespace, reporter: Reporter) -> Validator:
    chosen_device(arguments)
    checkpoint = load_checkpoint(find_model(arguments.model))
    return Validator(checkpoint, arguments.device, lambda name: reporter.progress(name))


def _validate(arguments: argparse.Namespace, reporter: Reporter) -> None:
    known = (*REAL_SETS, DISTURBED, SIMULATED)
    unknown = sorted(set(arguments.only) - set(known))
    if unknown:
        raise ConfigurationError(f"--only {unknown[0]}: known sets are {', '.join(known)}")
    sets, output = arguments.only or known, arguments.output
    validator, pictures = _validator(arguments, reporter), arguments.output / "pictures"
    scores = validate_real(validator, arguments.data, pictures, sets)
    figures: dict[str, dict[str, Any]] = {}
    if SIMULATED in sets:
        necks = arguments.count or (_QUICK_NECKS if arguments.quick else SimulatedConfig.necks)
        people = SimulatedConfig(necks, -(-necks // 4), -(-necks * 3 // 10), seed=arguments.seed)
        figures = simulated_figures(validate_simulated(validator, arguments.data, pictures, people))
    disturbed = robustness(validator, arguments.data) if DISTURBED in sets else ()
    criteria = [
        *report.real_criteria(scores),
        *report.flag_criteria(scores),
        *report.robustness_criteria(disturbed),
        *report.simulated_criteria(figures),
    ]
    content = report.content(validator.checkpoint, scores, figures, criteria, disturbed)
    report.write_validation(content, output)
    if arguments.write_card:
        report.keep_in_card(validator.checkpoint, content)
    reporter.text(report.markdown(content))


def _validate_series(arguments: argparse.Namespace, reporter: Reporter) -> None:
    same, output = arguments.same_scanner, arguments.output
    if arguments.write_card and not same:
        raise ConfigurationError(
            "--write-card goes with --same-scanner: with another contrast at each visit the CoV is that of no setting"
        )
    config = SeriesConfig(network=arguments.network, series=arguments.series, seed=arguments.seed, same_scanner=same)
    validator = _validator(arguments, reporter)
    maps = read_maps(arguments.data, only=config.shapes)
    figures = series_figures(measured_series(validator, maps, config, output / "series"), config)
    checkpoint, criteria = validator.checkpoint, report.series_criteria(figures)
    model = {"name": checkpoint.name, "version": checkpoint.version, "sha256": checkpoint.sha256}
    name = "series_same_scanner" if same else "series"
    content = {"model": model, "config": asdict(config), "figures": figures}
    write_json(output / f"{name}.json", {**content, "criteria": [asdict(one) for one in criteria]})
    text = report.series_markdown(model, figures, criteria)
    write_text(output / f"{name}.md", text)
    if arguments.write_card:
        report.keep_series_in_card(checkpoint, figures)
    reporter.text(text)


def _levels(arguments: argparse.Namespace, reporter: Reporter) -> None:
    if arguments.data is None:
        raise ConfigurationError("the folder of public data is not known: give --data")
    data, output = Path(arguments.data), arguments.output
    if arguments.step == "train":
        path = levels.train_finder(data, output, lambda stage, done, of: reporter.progress(stage, done, of))
        reporter.text(str(path))
        return
    if arguments.step == "upper-end":
        maps, checkpoint, heads = read_maps(data, only=VALIDATION_SHAPES), load_checkpoint(find_model()), []
        for number in range(arguments.count):
            reporter.progress("heads", number, arguments.count)
            heads.append(judged_head(number, maps, checkpoint, arguments.seed))
        text = upper_end_figures(heads)
        write_text(output / "upper_end.md", text)
        reporter.text(text)
        return
    table = judge_finder(data, output, arguments.finder or output / levels.FINDER, arguments.count)
    write_text(output / "levels.md", table)
    reporter.text(table)
