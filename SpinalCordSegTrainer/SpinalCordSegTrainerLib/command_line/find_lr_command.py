"""``spinalcordseg-train find-lr``: the two bounds of the cyclical learning rate."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from SpinalCordSegLib.inference import choose_device
from SpinalCordSegTrainerLib.command_line.options import (
    Augment,
    LearningOptions,
    OptionalData,
    Output,
    StartModel,
    grouped,
)
from SpinalCordSegTrainerLib.command_line.progress import step_display, tell_result
from SpinalCordSegTrainerLib.command_line.run_inputs import configuration


@grouped
def find_lr(
    output: Output,
    options: LearningOptions,
    data: OptionalData = None,
    model: StartModel = None,
    updates: Annotated[
        int | None, typer.Option("--updates", help="Length of the sweep; two epochs if left out.")
    ] = None,
    augment: Augment = False,
) -> None:
    """Range test: find the two bounds of the cyclical learning rate; writes curve and table.

    Give it the options that the training will have: bounds of a network that starts --from a model are others.
    """
    from SpinalCordSegTrainerLib.batches import Batches, open_sources
    from SpinalCordSegTrainerLib.lr_finder import range_test, write_range_test
    from SpinalCordSegTrainerLib.run_folder import new_state
    from SpinalCordSegTrainerLib.trainer import starting_weights

    chosen = configuration(options, data, output, augment=augment, model=model)
    where = choose_device(options.device)[0]
    batches = Batches(open_sources(chosen).training, chosen)
    state = new_state(chosen, where, starting_weights(chosen))
    with step_display("range test", options.style) as display:
        test = range_test(state, batches, chosen, where, updates=updates, progress=display.step)
    write_range_test(test, output)
    bounds = test.bounds
    note = f" ({bounds.note})" if bounds.note else ""
    tell_result(options.style, f"base_lr {bounds.base_lr:.0e}, max_lr {bounds.max_lr:.0e}{note}", **asdict(bounds))
