"""What the benchmark found, for reading: a table in Markdown and two pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_STAGES = ("read", "set up", "prepare", "network", "restore", "measure", "report", "other")
_COLOURS = ("#9ecae1", "#c7c7c7", "#fdae6b", "#3182bd", "#e6550d", "#74c476", "#9e9ac8", "#dddddd")


def write_table(results: dict[str, Any], folder: Path) -> None:
    """bench.md, and stages.png and scaling.png where those parts were run."""
    lines = ["# Benchmark", ""]
    for name, part in results.items():
        machine = part["machine"]
        versions = ", ".join(f"{package} {number}" for package, number in machine["versions"].items())
        lines += [
            f"## {name}",
            "",
            f"{machine['cpu']}, {machine['cores']} cores, {machine['instructions']}, {versions}; {machine['when']};"
            f" load before: {machine['load_before']:.1f}",
            "",
            *_ROWS[name](part["results"]),
            "",
        ]
    (folder / "bench.md").write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))
    if "whole" in results:
        _draw_stages(results["whole"]["results"], folder / "stages.png")
    if "scaling" in results:
        _draw_scaling(results["scaling"]["results"], folder / "scaling.png")


def _rows(names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> list[str]:
    head = [f"| {' | '.join(names)} |", "|" + "---|" * len(names)]
    return head + [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]


def _network(found: list[dict[str, Any]]) -> list[str]:
    rows = []
    for one in found:
        size = f"{one['width']} ({one['gflops_a_slice']:.2f} GFLOP)"
        rows.append(
            (size, one["threads"], f"floor ({one['best_rate_gflops']:.0f} GFLOP/s)", f"{one['floor_ms']:.1f}", 1)
        )
        for way, ms in one["ms_a_slice"].items():
            rows.append((size, one["threads"], way, f"{ms:.1f}", f"{one['times_the_floor'][way]:.2f}"))
    return _rows(("width", "threads", "way", "ms a slice of 256²", "times the floor"), rows)


def _whole(found: list[dict[str, Any]]) -> list[str]:
    rows = []
    for one in found:
        naive = next(row for row in found if row["volume"] == one["volume"] and row["way"] == "naive")
        rest = 1 - one["stages"]["network"] / one["seconds"]
        stages = [f"{one['stages'][stage]:.2f}" for stage in _STAGES]
        rows.append(
            (
                one["volume"], one["way"], one["threads"], f"{one['seconds']:.1f}",
                f"{naive['seconds'] / one['seconds']:.2f}", f"{one['dice_with_naive']:.5f}", f"{100 * rest:.0f} %",
                f"{one['peak_mb_above_imports']:.0f}", *stages,
            )
        )  # fmt: skip
    names = ("volume", "way", "threads", "s", "times faster than naive", "Dice", "not the network", "MB above imports")
    return _rows((*names, *_STAGES), rows)


def _scaling(found: dict[str, Any]) -> list[str]:
    rows = []
    for name, one in found.items():
        for x, seconds in zip(one["x"], one["seconds"], strict=True):
            rows.append((name, x, f"{seconds:.2f}", f"{one['r_squared']:.4f}"))
    return _rows(("what grows", "to", "s", "R² of the straight line"), rows)


def _command(found: dict[str, Any]) -> list[str]:
    """The bars are for an idle machine: of a busy one only the memory holds."""
    names = ("first_slice_s", "seconds", "processor_s", "peak_mb")
    rows = [(name, *(f"{one[value]:.1f}" for value in names)) for name, one in found["runs"].items()]
    sizes = ", ".join(f"{name} {mb:.0f}" for name, mb in found["installed_mb"].items())
    heads = ("image", "first slice after, s", "s", "processor s", "peak MB")
    return [*_rows(heads, rows), "", f"Installed, MB: {sizes}."]


def _startup(found: dict[str, float]) -> list[str]:
    return _rows(("what starts", "s"), [(name, f"{seconds:.2f}") for name, seconds in found.items()])


def _peers(found: dict[str, Any]) -> list[str]:
    rows: list[tuple[Any, ...]] = []
    for volume, one in found.items():
        ours = {row["way"]: row["seconds"] for row in one["ours"]}
        rows += [(volume, f"ours, whole command, {way}", "", "", f"{s:.1f}", "") for way, s in ours.items()]
        for row in one["peers"]:
            times = ", ".join(f"{row['seconds'] / s:.1f} ({way})" for way, s in ours.items())
            tile = "×".join(map(str, row["tile"]))
            rows.append((volume, row["way"], tile, row["tiles"], f"{row['seconds']:.1f}", times))
    return _rows(("volume", "way", "tile", "tiles", "s", "times ours"), rows)


def _tracking(found: dict[str, Any]) -> list[str]:
    return _rows(("", ""), [(name, value) for name, value in found.items() if not isinstance(value, list)])


def _load(found: dict[str, Any]) -> list[str]:
    rows = [
        (one["done"], f"{one['seconds']:.0f}", f"{one['processor_s']:.0f}", f"{one['mb']:.0f}")
        for one in found["batch"]["rows"]
    ]
    lines = _rows(("volumes of the batch done", "s", "s of processors", "MB resident"), rows)
    if "large" in found:
        large = found["large"]
        shape = "×".join(map(str, large["shape"]))
        lines += ["", f"{shape}: {large['seconds']:.0f} s, peak {large['peak_mb_above_imports']:.0f} MB above imports"]
    return lines


_ROWS = {
    "network": _network, "whole": _whole, "command": _command, "scaling": _scaling, "startup": _startup,
    "peers": _peers, "tracking": _tracking, "load": _load,
}  # fmt: skip


def _draw_stages(found: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 0.45 * len(found) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    labels = [f"{row['volume']}, {row['way']}" for row in found]
    left = [0.0] * len(found)
    for stage, colour in zip(_STAGES, _COLOURS, strict=True):
        widths = [row["stages"][stage] for row in found]
        axes.barh(labels, widths, left=left, color=colour, label=stage)
        left = [a + b for a, b in zip(left, widths, strict=True)]
    for label, end in zip(labels, left, strict=True):
        axes.text(end, label, f" {end:.1f} s", va="center")
    axes.invert_yaxis()
    axes.margins(x=0.14)
    axes.set_xlabel("seconds of the segment command after the imports")
    figure.legend(ncols=len(_STAGES), loc="outside upper center", frameon=False, fontsize="small")
    figure.savefig(path, dpi=120)


def _draw_scaling(found: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    for number, (name, one) in enumerate(found.items(), 1):
        axes = figure.add_subplot(1, 2, number)
        ends = [0, max(one["x"])]
        axes.plot(ends, [one["start"] + one["slope"] * x for x in ends], color="#9ecae1")
        axes.plot(one["x"], one["seconds"], "o", color="#3182bd")
        axes.set(xlabel=name, ylabel="seconds", xlim=(0, None), ylim=(0, None), title=f"R² = {one['r_squared']:.4f}")
    figure.savefig(path, dpi=120)
