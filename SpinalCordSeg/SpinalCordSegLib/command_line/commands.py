"""What the commands do that work on images: segment, measure and demo."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

from SpinalCordSegLib.batch import BatchOptions, LoadedCase, Outcome, run_batch
from SpinalCordSegLib.command_line.level_arguments import level_options, wants_levels
from SpinalCordSegLib.command_line.progress import Reporter
from SpinalCordSegLib.errors import ConfigurationError
from SpinalCordSegLib.files import reason
from SpinalCordSegLib.image_io import (
    Image,
    find_inputs,
    read_image,
    read_labels,
    safe_case_name,
    select_label,
    write_volume,
)
from SpinalCordSegLib.model.checkpoint import default_model
from SpinalCordSegLib.model.ready_model import model_in_use
from SpinalCordSegLib.phantom import make_phantom
from SpinalCordSegLib.pipeline import (
    CaseResult,
    SegmentOptions,
    canonical_range,
    fingerprint,
    measure_mask,
    segment_image,
)
from SpinalCordSegLib.postprocessing import MaskConfig

_DONE, _SOME_FAILED, _BAD_INPUT = 0, 1, 2
_log = logging.getLogger(__name__)


def run(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """Run the command that was parsed; returns the exit code. Raises SpinalCordSegError for what ends it whole."""
    chosen: dict[str, Callable[[argparse.Namespace, Reporter], int]] = {
        "segment": _segment,
        "measure": _measure,
        "demo": _demo,
    }
    return chosen[arguments.command](arguments, reporter)


def _segment(arguments: argparse.Namespace, reporter: Reporter) -> int:
    inputs = find_inputs(arguments.inputs)
    options = SegmentOptions(
        threshold=arguments.threshold,
        along_mm=SegmentOptions.along_mm if arguments.along_mm is None else arguments.along_mm,
        device=arguments.device,
        engine=arguments.engine,
        precision=arguments.precision,
        track_cord=arguments.track_cord and not arguments.save_probability,
        slice_range=arguments.range,
        levels=level_options(arguments, len(inputs)),
        keep_date=arguments.keep_date,
    )
    MaskConfig(threshold=options.threshold)  # told before the first image is read
    model = model_in_use(arguments.model or default_model())
    checkpoint = model.checkpoint

    def load(path: Path) -> LoadedCase:
        reporter.progress("read", 0, 0)
        image = read_image(path, arguments.series)
        canonical_range(image.volume, options.slice_range)

        def compute() -> CaseResult:
            return segment_image(image, checkpoint(), options, progress=reporter.progress)

        return LoadedCase(image.case_name, fingerprint(image.volume), compute)

    if arguments.scheduler is None:
        may_be_done = (arguments.output / "summary.csv").exists()
        with nullcontext() if may_be_done else model.made_ready(options.device, options.engine):
            return _batch(inputs, load, arguments, reporter)
    from SpinalCordSegLib.batch import Cluster, finished_fingerprints

    done = set() if arguments.force else finished_fingerprints(arguments.output)
    with Cluster(arguments.scheduler) as cluster:
        remote = cluster.loader(inputs, lambda path: read_image(path, arguments.series), checkpoint(), options, done)
        return _batch(inputs, remote, arguments, reporter)


def _measure(arguments: argparse.Namespace, reporter: Reporter) -> int:
    inputs = find_inputs(arguments.inputs, masks=True)
    if arguments.image is not None and len(inputs) > 1:
        raise ConfigurationError(f"--image goes with a single mask, found {len(inputs)}: measure them one by one")

    levels = level_options(arguments, len(inputs))

    def load(path: Path) -> LoadedCase:
        reporter.progress("read", 0, 0)
        labels = read_labels(path)
        mask = select_label(labels, arguments.label, path.name)
        image = None if arguments.image is None else read_image(arguments.image)
        name = safe_case_name(path)

        def compute() -> CaseResult:
            return measure_mask(
                mask, name, image=image, slice_range=arguments.range, levels=levels, progress=reporter.progress
            )

        return LoadedCase(name, fingerprint(mask), compute)

    return _batch(inputs, load, arguments, reporter)


def _batch(
    inputs: Sequence[Path], load: Callable[[Path], LoadedCase], arguments: argparse.Namespace, reporter: Reporter
) -> int:
    options = BatchOptions(
        output=arguments.output,
        mask_format=arguments.mask_format,
        save_probability=getattr(arguments, "save_probability", False),
        force=arguments.force,
        # A kept result would lack what was marked, or would go on telling of the image it was measured with before.
        renew=wants_levels(arguments) or getattr(arguments, "image", None) is not None,
        code=arguments.code,
    )
    reporter.start(len(inputs))
    numbers = iter(range(1, len(inputs) + 1))

    def announced(path: Path) -> LoadedCase:
        reporter.case(path, next(numbers), len(inputs))
        return load(path)

    failed = [outcome for outcome in run_batch(inputs, announced, options) if not _told(outcome, reporter)]
    if failed and len(inputs) == 1:
        return _BAD_INPUT
    if len(inputs) > 1:
        reporter.text(f"{len(inputs) - len(failed)} of {len(inputs)} cases done → {arguments.output / 'summary.csv'}")
    return _SOME_FAILED if failed else _DONE


def _told(outcome: Outcome, reporter: Reporter) -> bool:
    """Tell how a case ended; False when it failed."""
    if outcome.error is not None:
        reporter.error(reason(outcome.error), type(outcome.error).__name__, outcome.case_name)
        return False
    if outcome.folder is not None and outcome.report is not None:
        reporter.result(outcome.case_name, outcome.state, outcome.folder, outcome.report)
    return True


def _demo(arguments: argparse.Namespace, reporter: Reporter) -> int:
    model = model_in_use(arguments.model or default_model())
    file = arguments.output / "phantom.nii.gz"
    options = SegmentOptions(device=arguments.device, engine=arguments.engine)
    with model.made_ready(arguments.device, arguments.engine):
        reporter.progress("make the phantom", 0, 0)
        phantom = make_phantom()

        def load(path: Path) -> LoadedCase:
            write_volume(phantom.image, file)
            image = Image(phantom.image, path, "phantom")

            def compute() -> CaseResult:
                result = segment_image(image, model.checkpoint(), options, progress=reporter.progress)
                return replace(result, truth_volume_mm3=phantom.truth_volume_mm3)

            return LoadedCase("phantom", fingerprint(phantom.image), compute)

        outcomes = list(run_batch([file], load, BatchOptions(arguments.output, force=True)))
    if not all(_told(outcome, reporter) for outcome in outcomes):
        return _BAD_INPUT
    report = outcomes[0].report or {}
    folder = outcomes[0].folder
    reporter.text(
        f"true volume {report['truth_volume_mm3']:.0f} mm³, found {report['volume_mm3']:.0f} mm³:"
        f" error {report['volume_error_percent']:+.2f} %\nopen {folder}/report.html"
    )
    return _DONE
