"""``spinalcordseg-train``: the trainer on the command line.

Reports as SpinalCordSegLib.console does. Further JSON events: {"event": "epoch", "row": scores} after each epoch of a
training, {"event": "checked", "case": …} for each case of a check; the progress of a training also has "epoch",
"epochs", "loss" and "rate".
"""

from __future__ import annotations

import argparse
import math
import os
import shlex
import shutil
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from SpinalCordSegLib.console import (
    CANCELLED,
    DONE,
    SOME_FAILED,
    Parser,
    Reporter,
    add_command,
    new_program,
    run_program,
)
from SpinalCordSegLib.errors import Cancelled, ConfigurationError, TrainingDataError

# Everything heavy is imported by the command that needs it.
if TYPE_CHECKING:
    import torch

    from SpinalCordSegLib.model.checkpoint import Checkpoint
    from SpinalCordSegLib.volume import Volume
    from SpinalCordSegTrainerLib.config import TrainingConfig
    from SpinalCordSegTrainerLib.dataset import LoadedCase, MatchedFiles
    from SpinalCordSegTrainerLib.dataset_check import CheckedCase
    from SpinalCordSegTrainerLib.evaluation import CaseScore, Evaluation
    from SpinalCordSegTrainerLib.split import Split
    from SpinalCordSegTrainerLib.trainer import Progress

STOP_FILE = "stop"
"""A file of this name in a run's folder ends the run after its update at hand, saved."""

_DATA_HELP = "folder of images and label maps (NAME and NAME_seg, or BIDS), manifest (CSV) or ITK-SNAP workspace"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    return run_program(build_parser(), argv)


def build_parser() -> Parser:
    parser, commands = new_program(
        "spinalcordseg-train",
        "Train and judge models that segment the cervical spinal cord.",
        "Cases that cannot be used are left out and reported. Exit codes: 0 done, 1 some case could not be checked or"
        " judged, 2 usage or unusable input, 130 cancelled.",
        add_reading,
    )

    check = add_command(
        commands, "check", _check, "report which cases can be used, and who would be held out",
        "Reads every case and reports what it holds, or why it cannot be used; then splits the patients whose cases can"
        " be used. --output keeps that split for train --split and evaluate --held-out.",
    )  # fmt: skip
    check.add_argument("data", type=Path, help=_DATA_HELP)
    check.add_argument(
        "--output", type=Path, metavar="DIR", help="folder for split.json, or fold1/split.json and so on"
    )
    way = check.add_mutually_exclusive_group()
    way.add_argument(
        "--hold-out", default="0.2", metavar="RULE",
        help="a share of the patients, or COLUMN=VALUE, as site=Oslo (default: %(default)s)",
    )  # fmt: skip
    way.add_argument("--folds", type=int, metavar="K", help="so many folds, each patient held out once")
    check.add_argument("--seed", type=int, default=0, help="the same seed gives the same split (default: %(default)s)")

    train = add_command(
        commands, "train", _train, "train a network from scratch, or teach a trained one corrected cases",
        "Writes checkpoints, curves and all that is needed to resume. Several devices: torchrun --nproc-per-node N"
        " -m SpinalCordSegTrainerLib train …",
    )  # fmt: skip
    add_learning(train)
    for option, name, kind in (
        ("--epochs", "epochs", int), ("--batch-size", "batch_size", int), ("--lr", "rate.max_lr", float),
    ):  # fmt: skip
        train.add_argument(
            option, dest="settings", action="append", type=_setting(name, kind), metavar="N",
            help=f"as --set {name}=N",
        )  # fmt: skip
    train.add_argument(
        "--recipe", choices=("paper", "small", "corrections"),
        help="corrections: teach the default model, or --from, what few cases show, in minutes; small: a small network"
        " from 8 to 60 cases of one's own alone, on a processor; paper: train as published, or as set (default:"
        " corrections for a folder of under 50 cases and no other setting)",
    )  # fmt: skip
    train.add_argument("--resume", action="store_true", help="go on with the run in the output folder")
    held = train.add_mutually_exclusive_group()
    held.add_argument("--split", type=Path, metavar="FILE", help="hold out whom this split, or run, held out")
    held.add_argument(
        "--folds", type=int, metavar="K",
        help="train K models, each scored on the patients it held out; the same line again goes on",
    )  # fmt: skip
    train.add_argument("--augment", action="store_true", help="vary place, shape and contrast of training slices")

    find_lr = add_command(
        commands, "find-lr", _find_lr, "find the two bounds of the cyclical learning rate",
        "Range test; writes curve and table, and shows the line that trains by them. Give it the options that the"
        " training will have: bounds of a network that starts --from a model are others.",
    )  # fmt: skip
    add_learning(find_lr)
    find_lr.add_argument("--recipe", choices=("paper", "small"), help="that of the training")
    find_lr.add_argument(
        "--updates", type=int, metavar="N",
        help="length of both sweeps together, 300 or more (default: two epochs, but 400 at least)",
    )  # fmt: skip

    evaluate = add_command(
        commands, "evaluate", _evaluate, "score a model, or masks made elsewhere, against the labels of a data set",
        "Cases are segmented as the program does it for a user.",
    )  # fmt: skip
    evaluate.add_argument("data", type=Path, help=_DATA_HELP)
    add_output(evaluate)
    judged = evaluate.add_mutually_exclusive_group()
    judged.add_argument(
        "--model",
        metavar="MODEL",
        help="a name, a weights file or a run (default: the model that comes along)",
    )
    judged.add_argument("--predictions", type=Path, metavar="DIR", help="judge these masks in place of a model's")
    evaluate.add_argument("--held-out", type=Path, metavar="RUN", help="only cases that this run, or split, held out")
    add_only_labelled(evaluate)
    add_device(evaluate)

    raters = add_command(
        commands, "raters", _raters, "compare two raters' labels of the same images",
        "Writes their agreement, the list of slices where they disagree, and a consensus label for each case.",
    )  # fmt: skip
    raters.add_argument("data", type=Path, help=f"images with the first rater's labels: {_DATA_HELP}")
    raters.add_argument("second", type=Path, help="folder of the second rater's labels, of the same names")
    add_output(raters)
    raters.add_argument(
        "--least-dice", type=float, default=0.85, metavar="DICE", help="list slices below it (default: %(default)s)"
    )

    for command in (train, find_lr):
        command.add_argument("--from", dest="start", metavar="MODEL", help="fine-tune this model: name, file or run")
    for command in commands.choices.values():
        command.epilog = "Options of every command, as --label, are explained by spinalcordseg-train --help."
    return parser


# Options that several commands share


def add_output(parser: Parser) -> None:
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder for the results")


def add_configuration(parser: Parser) -> None:
    parser.add_argument("--config", type=Path, metavar="FILE", help="training configuration (JSON)")
    parser.add_argument(
        "--set", dest="settings", action="append", default=[], metavar="NAME=VALUE",
        help="override one setting, as rate.max_lr=0.001; repeatable",
    )  # fmt: skip
    parser.set_defaults(resume=False, recipe=None)


def add_reading(parser: Parser) -> None:
    """How the label maps of a data set are read."""
    parser.add_argument("--label", type=int, metavar="N", help="value of the cord in the label maps")
    parser.add_argument(
        "--tolerant", action="store_true", help="resample a label map that lies on another grid to its image's"
    )


def add_only_labelled(parser: Parser) -> None:
    parser.add_argument("--only-labelled", action="store_true", help="leave out slices without label")


def add_device(parser: Parser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or mps (default: %(default)s)")


def chosen_device(arguments: argparse.Namespace) -> torch.device:
    from SpinalCordSegLib.torch_inference import choose_device

    return choose_device(arguments.device)[0]


def _setting(name: str, kind: type[int | float]) -> Callable[[str], str]:
    def read(text: str) -> str:
        try:
            return f"{name}={kind(text)}"
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} is not a {'whole ' * (kind is int)}number") from error

    return read


class _ListSettings(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from SpinalCordSegTrainerLib.config import settings_text

        print(settings_text())
        parser.exit()


def add_learning(parser: Parser) -> None:
    """What every command that trains has."""
    parser.add_argument(
        "data", type=Path, nargs="?", help=f"{_DATA_HELP}, or a slice cache; left out: the configuration's sources"
    )
    add_output(parser)
    add_configuration(parser)
    parser.add_argument("--list-settings", action=_ListSettings, nargs=0, help="show all settings and what they mean")
    add_only_labelled(parser)
    add_device(parser)
    parser.set_defaults(start=None, split=None, augment=False)


# The configuration and its slices


def base_configuration(arguments: argparse.Namespace) -> TrainingConfig:
    """The configuration file (of a run that goes on its own), or the defaults, with the settings put in."""
    from SpinalCordSegTrainerLib.config import read_config, with_settings

    path = arguments.config or (arguments.output / "config.json" if arguments.resume else None)
    if arguments.recipe == "small" and (arguments.config is not None or arguments.start is not None):
        raise ConfigurationError("--recipe small starts from nothing: leave out --config and --from")
    if path is None:
        return _begun_by(arguments.recipe, arguments.settings)
    return with_settings(read_config(path), arguments.settings)


def _begun_by(recipe: str | None, settings: Sequence[str]) -> TrainingConfig:
    from SpinalCordSegTrainerLib.config import SMALL, TrainingConfig, with_settings

    config = {"small": SMALL, "paper": TrainingConfig(best_by="loss")}.get(recipe or "", TrainingConfig())
    return with_settings(config, settings)


def configuration(arguments: argparse.Namespace, reporter: Reporter) -> TrainingConfig:
    """The configuration with its sources. A data folder is cached in the output folder, a slice cache taken as it is.

    With --resume it is the run's own, and so are its slices, whatever data is named again. With --from, network and
    normalisation are the model's where none were asked for, and a single patient is enough: then nobody is held out.
    """
    from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
    from SpinalCordSegLib.model.preprocessing import NormalisationConfig
    from SpinalCordSegTrainerLib.config import SourceConfig, from_dict, read_config
    from SpinalCordSegTrainerLib.slice_cache import SliceCache
    from SpinalCordSegTrainerLib.split import read_split, split_patients

    chosen, data = base_configuration(arguments), arguments.data
    if arguments.resume and arguments.config is None:
        start, split, policies = arguments.start, arguments.split, {source.policy for source in chosen.sources}
        recipe = None if arguments.recipe is None else _begun_by(arguments.recipe, arguments.settings)
        other = {
            "--recipe": recipe is not None and (recipe.network, recipe.loss) != (chosen.network, chosen.loss),
            "--from": start is not None and str(find_model(start)) != chosen.from_model,
            "--split": split is not None and read_split(split).validation != chosen.validation.subjects,
            "--augment": arguments.augment and "standard" not in policies,
        }
        if any(other.values()):
            begun = ", ".join(name for name, changed in other.items() if changed)
            raise ConfigurationError(f"{begun}: a run goes on as it was begun; leave it out, or begin a new run")
        before = read_config(arguments.output / "config.json").epochs
        if chosen.rate.plan == "cosine" and chosen.epochs != before:
            reporter.text(f"{chosen.epochs} epochs in place of {before}: the rate now falls over all of them")
        return chosen
    asked = {one.partition(".")[0].partition("=")[0] for one in arguments.settings}
    if arguments.split is not None:
        held_out = read_split(arguments.split).validation
        chosen = replace(chosen, validation=replace(chosen.validation, subjects=held_out))
    if arguments.start is not None:
        path = find_model(arguments.start)
        chosen = replace(chosen, from_model=str(path))
        if arguments.config is None and not asked & {"network", "normalisation"}:
            model = load_checkpoint(path)
            chosen = replace(chosen, network=model.network, normalisation=model.normalisation)
    if data is not None:
        cache = data
        if not is_slice_cache(data):
            cache, matched, judged = arguments.output / "cache", matched_files(arguments), chosen.validation
            if chosen.from_model is None and not judged.caches:  # refused before everything is read
                split_patients((case.subject for case in matched.cases), judged.fraction, chosen.seed)
            ensure_cache(matched, cache, chosen, arguments.only_labelled, reporter)
        elif arguments.config is None and "normalisation" not in asked:
            made = from_dict(NormalisationConfig, SliceCache.open(data).info.normalisation)
            chosen = replace(chosen, normalisation=made)
        chosen = replace(chosen, sources=(SourceConfig(str(cache)),))
    elif not chosen.sources:
        raise ConfigurationError("nothing to train on: give a data folder, or --config with sources")
    if arguments.augment or arguments.recipe == "small":
        sources = (replace(one, policy="standard") if one.policy == "none" else one for one in chosen.sources)
        chosen = replace(chosen, sources=tuple(sources))
    if chosen.from_model is not None and not chosen.validation.caches:
        subjects = {one for source in chosen.sources for one in SliceCache.open(source.path).info.subjects}
        if len(subjects) == 1:
            chosen = replace(chosen, validation=replace(chosen.validation, fraction=0.0))
    return chosen


def is_slice_cache(folder: Path) -> bool:
    return (folder / "cache.json").exists()


def matched_files(arguments: argparse.Namespace) -> MatchedFiles:
    """The cases of the command's data, to be read as it asks."""
    from SpinalCordSegTrainerLib.dataset import match_files

    return match_files(arguments.data, arguments.label, tolerant=arguments.tolerant)


def ensure_cache(
    matched: MatchedFiles, folder: Path, config: TrainingConfig, only_labelled: bool, reporter: Reporter
) -> None:
    """Have the slices of these cases in ``folder``, inside a command's output folder: written anew, but where a run has
    begun to learn from those there.

    Raises ConfigurationError for slices that no such command wrote.
    """
    from SpinalCordSegTrainerLib.run_folder import training_begun
    from SpinalCordSegTrainerLib.slice_cache import SliceCache

    if is_slice_cache(folder):
        if training_begun(folder.parent):
            reporter.text(f"{folder}: the slices that the run here began with are used")
            return
        made = SliceCache.open(folder).info
        if made.kind != "real" or made.source.get("boundary_offset_mm"):
            raise ConfigurationError(f"{folder}: holds slices of other data; choose another output folder")
        shutil.rmtree(folder)
    write_slices(matched, folder, config, reporter, only_labelled=only_labelled)


def write_slices(
    matched: MatchedFiles, folder: Path, config: TrainingConfig, reporter: Reporter, **options: Any
) -> None:
    """Cache the slices of the cases, and report them and what is left out. ``options``: of cache_cases."""
    from SpinalCordSegTrainerLib.slice_cache import cache_cases

    progress = partial(reporter.progress, "cases")
    written, problems = cache_cases(matched.cases, folder, config.normalisation, progress=progress, **options)
    for name, reason in (*matched.problems, *problems):
        reporter.error(f"left out: {reason}", "TrainingDataError", name)
    if matched.unlabelled:
        reporter.text(f"left out, without a label map: {_named([path.name for path in matched.unlabelled])}")
    used, patients = len(written.info.source["cases"]), patients_text(len(set(written.info.subjects)))
    reporter.text(f"{len(written)} slices of {used} of {len(matched.cases)} cases, {patients}: {folder}")


def patients_text(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


# train, find-lr


def _train(arguments: argparse.Namespace, reporter: Reporter) -> int:
    arguments.resume &= arguments.folds is None  # a fold that was begun goes on anyway
    base_configuration(arguments)  # a wrong setting is refused before torch is loaded, which takes long
    if arguments.folds is not None:
        return _train_folds(arguments, reporter)
    if _is_for_corrections(arguments, reporter):
        return _learn_from_corrections(arguments, reporter)
    from SpinalCordSegLib.model.checkpoint import load_checkpoint
    from SpinalCordSegTrainerLib.distributed import join_processes
    from SpinalCordSegTrainerLib.trainer import Training

    output = arguments.output
    with join_processes(chosen_device(arguments)) as processes:
        # The first process writes the slices that the others wait for. Ctrl-C ends that at once.
        config = processes.gathered({0: configuration(arguments, reporter)} if processes.first else {})[0]
        with stop_in_order(output, arguments) as stopped:
            run = Training(
                config,
                output,
                resume=arguments.resume,
                processes=processes,
                report=epochs_to(reporter) if processes.first else None,
                stopped=stopped,
            )
            if processes.first:
                reporter.text(_who_is_held_out(run.sources.split))
            try:
                state = run.run()
            except Cancelled as error:
                reporter.error(str(error), "Cancelled")
                return CANCELLED
    if processes.first:
        if load_checkpoint(run.best).is_too_poor:
            reporter.attention(
                "what the model draws on the patients held out is too unlike their labels to measure with it: more"
                " cases, more epochs or another recipe may help"
            )
        text = f"{state.finished}: {run.best}\n{_next_of_training(arguments, run.best)}"
        reporter.result(text, reason=state.finished, model=str(run.best))
    return DONE


def _who_is_held_out(parts: Sequence[Split]) -> str:
    trained = {(part.kind, one) for part in parts for one in part.training}
    held_out = sorted({one for part in parts for one in part.validation})
    names = _named(held_out)
    return f"{patients_text(len(trained))} to train on, {len(held_out)} held out" + (f": {names}" if names else "")


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_MOST_NAMES]) + (" …" if len(names) > _MOST_NAMES else "")


def _next_of_training(arguments: argparse.Namespace, model: Path) -> str:
    if arguments.data is None or is_slice_cache(arguments.data):
        return f"next: spinalcordseg segment IMAGE --model {shlex.quote(str(model))} --output DIR"
    words = ["evaluate", *_reading_words(arguments), "--model", model, "--held-out", model.parent]
    return "next: " + _line(*words, "--output", model.parent / "evaluation")


def _line(*words: object) -> str:
    return shlex.join(["spinalcordseg-train", *map(str, words)])


def _reading_words(arguments: argparse.Namespace) -> list[str]:
    """The command's data as another command takes them."""
    words = [] if arguments.data is None else [str(arguments.data)]
    words += [] if arguments.label is None else ["--label", str(arguments.label)]
    return (
        words + ["--tolerant"] * arguments.tolerant + ["--only-labelled"] * vars(arguments).get("only_labelled", False)
    )


_FEW_CASES, _FEWEST_CASES = 50, 8
_MOST_NAMES = 12


def _is_for_corrections(arguments: argparse.Namespace, reporter: Reporter) -> bool:
    """By what was asked for, else by the number of cases; what was chosen, and why, is reported."""
    from SpinalCordSegLib.slice_table import counted

    asked = (arguments.settings, arguments.config, arguments.split, arguments.resume, arguments.augment)
    if arguments.recipe == "corrections" and any(asked):
        raise ConfigurationError(
            "--recipe corrections has settings of its own and holds out whom it needs to: leave out --split, --resume"
            " and every setting, or give --recipe small or paper"
        )
    data, begun = arguments.data, arguments.resume or arguments.config is not None
    if arguments.recipe in ("corrections", "paper"):
        return bool(arguments.recipe == "corrections")
    if data is None or begun or is_slice_cache(data) or "WORLD_SIZE" in os.environ:
        return False
    count = len(matched_files(arguments).cases)
    if arguments.recipe == "small":
        if count < _FEWEST_CASES:
            reporter.attention(
                f"{counted(count, 'case')}: --recipe small was tried with {_FEWEST_CASES} to 60; of fewer the model may"
                " be too poor to measure with. Without --recipe the shipped model learns from them"
            )
        return False
    few = count < _FEW_CASES and not any(asked)
    start = "from scratch" if arguments.start is None else f"from {arguments.start}"
    published = f"trained {start} by the recipe of Bueno et al. 2022"
    if few:
        text = (
            f"{count} cases, under {_FEW_CASES}: too few to train from scratch, so a trained model learns from them,"
            " beside rehearsal slices (--recipe small trains from scratch, --recipe paper as published)"
        )
    elif count < _FEW_CASES:
        text = (
            f"{count} cases, few for this: {published}, since settings are given (without any, a trained model learns"
            " from so few; --recipe small is made for 8 to 60)"
        )
    else:
        text = f"{count} cases: {published}, the best epoch by loss and area"
    reporter.text(text)
    return few


def _learn_from_corrections(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint, save_checkpoint
    from SpinalCordSegTrainerLib.corrections import learn_from_corrections
    from SpinalCordSegTrainerLib.slice_cache import SliceCache

    output, path = arguments.output, arguments.output / "best.safetensors"
    if path.exists():
        raise ConfigurationError(f"{output}: holds a model already; choose another folder")
    if arguments.data is None:
        raise ConfigurationError("nothing to learn from: give a folder of corrected cases")
    device, base = chosen_device(arguments), load_checkpoint(find_model(arguments.start))
    matched, cache = matched_files(arguments), output / "cache"
    config = replace(base_configuration(arguments), normalisation=base.normalisation)
    ensure_cache(matched, cache, config, arguments.only_labelled, reporter)
    opened = SliceCache.open(cache)
    with stop_in_order(output, arguments) as stopped:
        learnt = learn_from_corrections(
            base,
            [case for case in matched.cases if case.name in opened.info.source["cases"]],
            opened,
            only_labelled=arguments.only_labelled,
            device=device,
            progress=partial(reporter.progress, "learning"),
            stopped=stopped,
        )
    save_checkpoint(learnt.model, path)
    text = f"{learnt.text}\n{path}"
    if learnt.offered:
        text += f"\nnext: spinalcordseg segment IMAGE --model {shlex.quote(str(path))} --output DIR"
    reporter.result(text, reason=learnt.text, model=str(path), offered=learnt.offered)
    return DONE


@contextmanager
def stop_in_order(output: Path, arguments: argparse.Namespace) -> Iterator[Callable[[], bool]]:
    """Whether the run is to stop: after Ctrl-C, or because somebody put a file STOP_FILE into its folder. The update at
    hand is finished and saved; a second Ctrl-C ends it at once."""
    request = output / STOP_FILE
    if arguments.progress is None:  # a program removes an old request before it starts us, and may have asked since
        request.unlink(missing_ok=True)
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(received) or request.exists()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        request.unlink(missing_ok=True)


def epochs_to(reporter: Reporter) -> Callable[[Progress], None]:
    """Report each update's progress with the running loss, and each finished epoch."""
    running = math.nan
    names = {"train_loss": "loss", "loss": "validation", "dice": "raw Dice", "mcc": "MCC", "area_percent": "raw area %"}

    def report(progress: Progress) -> None:
        nonlocal running
        if math.isfinite(progress.loss):
            running = progress.loss if math.isnan(running) else 0.95 * running + 0.05 * progress.loss
        of_epochs = f"epoch {progress.epoch}/{progress.epochs}"
        note = f"{of_epochs}, loss {running:.4f}, rate {progress.rate:.1e}"
        fields = {name: getattr(progress, name) for name in ("epoch", "epochs", "loss", "rate", "seconds")}
        reporter.progress("training", progress.update, progress.updates, note, **fields)
        row = progress.row
        if row is not None:
            reporter.event("epoch", row=row)
            scores = ", ".join(f"{label} {row[name]:.4f}" for name, label in names.items() if row.get(name) is not None)
            notes = " (best)" * bool(row.get("best")) + ", no cord found" * (row.get("dice") == 0)
            reporter.text(f"{of_epochs}: {scores}{notes}, {progress.seconds / 60:.1f} min")

    return report


def _find_lr(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegTrainerLib.lr_finder import check_length, range_test, write_range_test

    check_length(arguments.updates)
    config, device = configuration(arguments, reporter), chosen_device(arguments)
    progress = partial(reporter.progress, "range test")
    bounds, sweep = range_test(config, device, updates=arguments.updates, progress=progress)
    write_range_test(bounds, sweep, arguments.output)
    note = f" ({bounds.note})" if bounds.note else ""
    words = ["train", *_reading_words(arguments), "--output", arguments.output]
    for option, value in (("--recipe", arguments.recipe), ("--config", arguments.config), ("--from", arguments.start)):
        words += [] if value is None else [option, value]
    chosen = (*arguments.settings, f"rate.base_lr={bounds.base_lr:g}", f"rate.max_lr={bounds.max_lr:g}")
    line = _line(*words, *(word for one in chosen for word in ("--set", one)))
    text = f"base_lr {bounds.base_lr:.1e}, max_lr {bounds.max_lr:.1e}{note}\nnext: {line}"
    reporter.result(text, **asdict(bounds))
    return DONE


def _train_folds(arguments: argparse.Namespace, reporter: Reporter) -> int:
    """K-fold cross-validation: every patient judged once, by the one model that never saw them.

    A fold that ended is not trained again, one that was interrupted goes on. The seed also draws the folds.
    """
    from SpinalCordSegLib.model.checkpoint import load_checkpoint
    from SpinalCordSegTrainerLib.evaluation import FIGURES, Evaluation, model_masks, statistics
    from SpinalCordSegTrainerLib.slice_cache import SliceCache
    from SpinalCordSegTrainerLib.split import folds
    from SpinalCordSegTrainerLib.trainer import Training

    if arguments.data is None:
        raise ConfigurationError("--folds needs the folder of cases that the models are judged on: give DATA")
    device, output = chosen_device(arguments), arguments.output
    config = configuration(arguments, reporter)
    used = set(SliceCache.open(config.sources[0].path).info.source["cases"])
    cases = [case for case in matched_files(arguments).cases if case.name in used]
    # Slices without label are not judged where they were not trained on.
    pooled, rows = Evaluation(only_labelled=arguments.only_labelled), []
    with stop_in_order(output, arguments) as stopped:
        for number, split in enumerate(folds((case.subject for case in cases), arguments.folds, config.seed), 1):
            folder = output / f"fold{number}"
            chosen = replace(config, validation=replace(config.validation, subjects=split.validation))
            run = Training(chosen, folder, resume=None, device=device, report=epochs_to(reporter), stopped=stopped)
            run.run()
            model, before = load_checkpoint(run.best), len(pooled.scores)
            held = [case for case in cases if case.subject in set(split.validation)]
            pooled.judge(held, model_masks(model, device.type, stopped))
            figures = Evaluation(scores=pooled.scores[before:]).write(folder / "evaluation", model)
            means = {**{name: figures[name]["mean"] for name in FIGURES}, "mcc": figures["mcc"]}
            rows.append({"fold": number, "patients_held_out": len(split.validation), **means})
    over = {name: statistics([row[name] for row in rows if row[name] is not None]) for name in (*FIGURES, "mcc")}
    lines = [
        f"{name} over {one['n']} folds: {one['mean']:.3f} ± {one['sd']:.3f}"
        for name, one in over.items()
        if one["sd"] is not None
    ]
    return _end_evaluation(pooled, output, reporter, lines=lines, folds=rows, over_folds=over)


# evaluate, raters


def _end_evaluation(
    evaluation: Evaluation,
    output: Path,
    reporter: Reporter,
    checkpoint: Checkpoint | None = None,
    lines: Sequence[str] = (),
    **more: Any,
) -> int:
    """Write tables and pictures, report the figures and then ``lines``; returns the exit code. ``more``: further
    fields of scores.json."""
    not_judged = [{"case": name, "reason": reason} for name, reason in evaluation.problems]
    figures = evaluation.write(output, checkpoint, **more, not_judged=not_judged)
    for name, reason in evaluation.problems:
        reporter.error(f"not judged: {reason}", "TrainingDataError", name)
    reporter.result("\n".join([*_score_lines(evaluation.scores, figures), *lines]), scores=figures)
    return SOME_FAILED if evaluation.problems else DONE


def _score_lines(scores: Sequence[CaseScore], figures: dict[str, Any]) -> Iterator[str]:
    rows = [("case", "Dice", "HD95 mm", "CSA error %", "volume error %", "slices missed")]
    for case in scores:
        errors = (f"{case.csa_error_percent:+.1f}", f"{case.volume_error_percent:+.1f}")
        rows.append((case.case, f"{case.dice:.3f}", f"{case.hd95_mm:.2f}", *errors, str(case.missed)))
    yield from table_lines(rows)
    for name in ("dice_per_slice", "dice_per_case", "csa_error_percent_per_slice"):
        one = figures[name]
        if one["n"]:
            spread = "" if one["sd"] is None else f" ± {one['sd']:.3f}"
            quartiles = f"P25 {one['p25']:.3f}, P50 {one['p50']:.3f}, P75 {one['p75']:.3f}"
            yield f"{name}: {one['mean']:.3f}{spread}, {quartiles}, n {one['n']}"
    yield f"MCC {figures['mcc']:.4f}"
    yield figures["empty_rule"]


def table_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows of text in aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()


def _evaluate(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.files import json_object
    from SpinalCordSegLib.model.checkpoint import find_model, load_checkpoint
    from SpinalCordSegTrainerLib.evaluation import Evaluation, folder_masks, model_masks
    from SpinalCordSegTrainerLib.split import read_split

    chosen_device(arguments)  # refused before anything is read
    checkpoint, more = None, {}
    if arguments.predictions is None:
        checkpoint = load_checkpoint(find_model(arguments.model))
    matched = matched_files(arguments)
    cases = matched.cases
    if checkpoint is not None:
        masks = model_masks(checkpoint, arguments.device)
    else:
        masks, more = folder_masks(arguments.predictions, cases), {"predictions": arguments.predictions.name}
    if arguments.held_out is not None:
        held_out = read_split(arguments.held_out).validation
        cases = tuple(case for case in cases if case.subject in held_out)
        if not cases:
            raise TrainingDataError(f"{arguments.held_out}: held out none of these cases; evaluate on its own data")
    elif checkpoint is not None and checkpoint.path is not None:
        read = json_object(checkpoint.path.parent / "cache" / "cache.json").get("source", {}).get("cases", ())
        if n := sum(case.name in read for case in cases):
            reporter.attention(
                f"{n} of {len(cases)} cases were read by the model's own run: these scores are no test of it"
            )
    evaluation = Evaluation(only_labelled=arguments.only_labelled)
    evaluation.problems += matched.problems
    evaluation.judge(cases, masks, progress=partial(reporter.progress, "cases"))
    extra = [one.case for one in evaluation.scores if any(each.found_mm2 and not each.true_mm2 for each in one.slices)]
    if extra:
        reporter.attention(
            f"cord was found on slices without cord in the label ({_named(extra)}) and counts as false: where nobody"
            " drew these slices, judge with --only-labelled"
        )
    return _end_evaluation(evaluation, arguments.output, reporter, checkpoint, **more)


def _raters(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegLib.files import inside
    from SpinalCordSegLib.image_io import write_volume
    from SpinalCordSegTrainerLib.evaluation import Evaluation, consensus, disagreements, folder_masks
    from SpinalCordSegTrainerLib.run_folder import write_table

    output, matched, rows = arguments.output, matched_files(arguments), []

    def judged(loaded: LoadedCase, second: Volume, score: CaseScore) -> None:
        rows.extend(disagreements(score, loaded.mask, second, arguments.least_dice))
        path = inside(output / "consensus", f"{loaded.case.name}_seg.nii.gz")
        write_volume(consensus(loaded.mask, second), path)

    evaluation = Evaluation()
    masks, progress = folder_masks(arguments.second, matched.cases), partial(reporter.progress, "cases")
    evaluation.judge(matched.cases, masks, judged=judged, progress=progress)
    write_table(rows, output / "disagreements.csv")
    evaluation.problems += matched.problems
    lines = [f"{len(rows)} slices to settle, listed in disagreements.csv; labels in consensus/"]
    return _end_evaluation(evaluation, output, reporter, lines=lines, disagreements=len(rows))


# check


def _check(arguments: argparse.Namespace, reporter: Reporter) -> int:
    from SpinalCordSegTrainerLib.dataset_check import check_cases, summary
    from SpinalCordSegTrainerLib.split import folds, split_by_rule, write_split

    matched = matched_files(arguments)
    checked = check_cases(matched, partial(reporter.progress, "cases"))
    for case in checked:
        reporter.event("checked", case={"usable": case.usable, **asdict(case)})
    counts = summary(checked)
    usable_text = f"{counts['usable']} of {counts['cases']} cases can be used: {patients_text(counts['subjects'])}"
    if odd := sum(case.usable and bool(case.remarks) for case in checked):
        usable_text += f"; look at {odd} of them first, see the verdicts"
    lines = [*_checked_lines(checked), usable_text]
    if undrawn := sum(case.n_slices - case.n_cord_slices for case in checked if case.usable):
        lines.append(
            f"{undrawn} slices have no cord in the label: where nobody drew them, use --only-labelled (train, evaluate)"
        )
    usable = {case.name for case in checked if case.usable}
    cases = [case for case in matched.cases if case.name in usable]
    subjects, splits = [case.subject for case in cases], {}
    if arguments.output is None and len(set(subjects)) < 2:
        if subjects:
            lines.append("nobody can be held out: only a trained model can learn from one patient (train as below)")
    elif arguments.folds is not None:
        every = folds(subjects, arguments.folds, arguments.seed)
        splits = {f"fold{number}": one for number, one in enumerate(every, 1)}
    else:
        splits = {"split": split_by_rule(cases, arguments.hold_out, arguments.seed)}
    for name, split in splits.items():
        lines.append(f"{name}: {_who_is_held_out([split])}")
        if arguments.output is not None:
            folder = arguments.output if name == "split" else arguments.output / name
            write_split([split], folder / "split.json")
    if counts["usable"]:
        way = [] if arguments.output is None else ["--split", arguments.output / "split.json"]
        way = way if arguments.folds is None else ["--folds", arguments.folds]
        lines.append("next: " + _line("train", *_reading_words(arguments), "--output", "RUN", *way))
    reporter.result("\n".join(lines), **counts)
    return DONE if counts["usable"] == counts["cases"] else SOME_FAILED


def _checked_lines(checked: Sequence[CheckedCase]) -> Iterator[str]:
    rows: list[tuple[str, ...]] = [
        ("case", "patient", "labels", "cord slices", "volume mm³", "mean area mm²", "verdict")
    ]
    for case in checked:
        figures = ("–" if value is None else f"{value:.1f}" for value in (case.volume_mm3, case.mean_csa_mm2))
        verdict = f"refused: {case.reason}" if case.reason else "; ".join(case.remarks) or "ok"
        labels = ", ".join(map(str, case.labels[:6])) + (" …" if len(case.labels) > 6 else "")
        slices = f"{case.n_cord_slices} of {case.n_slices}"
        rows.append((case.name, case.subject, labels or "–", slices, *figures, verdict))
    return table_lines(rows)


if __name__ == "__main__":
    sys.exit(main())
