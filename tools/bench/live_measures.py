"""How long the panel's numbers take to follow one edited slice of a 512×512×200 volume: processor seconds, printed.

``PYTHONPATH=Testing/slicer .venv/bin/python tools/bench/live_measures.py``. The panel waits a quarter of a
second after the last stroke before it looks.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

_CHECKOUT = Path(__file__).resolve().parents[2]
_SHAPE, _SPACING_MM = (512, 512, 200), (0.5, 0.5, 0.9)


def main() -> int:
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(_CHECKOUT / "SpinalCordSeg")]
    from slicer_standins import application, desktop, scripted

    app, _messages = application.start()
    desktop.start(app)
    widget = scripted.open_module(str(_CHECKOUT / "SpinalCordSeg" / "SpinalCordSeg.py"))
    scripted.enter(widget)
    node, segment_id = _big_case(widget)
    for section in (widget.sections.review, widget.sections.correct):
        section.ui.section.collapsed = False
    for number in (60, 61, 100, 150):
        print(f"slice {number}: {_seconds_after_edit(widget, node, segment_id, number):.2f} s of processor time")
    scripted.close_module(widget)
    return 0


def _big_case(widget):
    import slicer

    from SpinalCordSegLib.morphometry import measure
    from SpinalCordSegLib.volume import Volume
    from SpinalCordSegNodes.case_data import CaseFolder
    from SpinalCordSegNodes.segmentations import cord_segment_id
    from SpinalCordSegNodes.volumes import node_from_volume

    matrix = np.diag([*_SPACING_MM, 1.0])
    i, j = np.mgrid[0 : _SHAPE[0], 0 : _SHAPE[1]]
    voxels = np.zeros(_SHAPE, bool)
    for k in range(5, 195):
        voxels[:, :, k] = ((i - 250 - k // 20) / 13) ** 2 + ((j - 260) / 9) ** 2 < 1
    mask = Volume(voxels, matrix)
    measures = measure(mask)
    rows = [
        {"slice": one.slice, "canonical_slice": one.canonical_slice, "z_mm": one.z_mm, "csa_mm2": one.csa_mm2,
         "ap_ellipse_mm": one.ap_ellipse_mm, "rl_mm": one.rl_mm, "flags": ""}
        for one in measures.slices
    ]  # fmt: skip
    content = {
        "volume_mm3": measures.volume_mm3,
        "length_mm": measures.length_mm,
        "mean_csa_mm2": measures.mean_csa_mm2,
        "n_slices": measures.n_slices,
        "flags": [],
        "model": {"name": "none", "version": "0", "sha256": "ab"},
    }
    case = CaseFolder(mask, content, tuple(rows), json.dumps(content))
    volume = node_from_volume(slicer.mrmlScene, Volume(np.zeros(_SHAPE, np.int16), matrix), "big")
    result = widget.logic.addResult(case, volume)
    widget.panel.show_mask(result.segmentation)
    return result.segmentation, cord_segment_id(result.segmentation)


def _seconds_after_edit(widget, node, segment_id: str, number: int) -> float:
    """From the edit to new numbers, plot and tables, without the quarter of a second that is waited for."""
    from SpinalCordSegNodes.editing import correct_segment

    def draw(mask):
        voxels = mask.voxels.copy()
        voxels[20:30, 20:25, number] = ~voxels[20:30, 20:25, number]
        return mask.with_voxels(voxels)

    correct_segment(node, segment_id, draw)
    started = time.process_time()
    widget.panel.measures.refresh()
    return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())
