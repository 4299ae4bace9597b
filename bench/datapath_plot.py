"""Draws the results of the data path benchmark as one self-contained SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("svg")
from matplotlib import pyplot as plt  # the backend is chosen before pyplot loads

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from results import Result

COLOURS = {"original layout": "#c2571a", "podwall": "#1f5fa8"}
STYLES = {"legacy": "-", "nft": "--"}
MARKERS = {"legacy": "o", "nft": "s"}
PACKETS = {"new": "Opening a connection", "established": "Established connection"}
INK = "#333333"


def draw(results: Sequence[Result], path: Path) -> None:
    """Write the ratios over the number of local pods: a panel for each way and kind of packet."""
    style: dict[Any, Any] = {
        "svg.fonttype": "path",
        "svg.hashsalt": "podwall",
        "font.family": "DejaVu Sans",
        "font.size": 10,
        "axes.edgecolor": INK,
        "text.color": INK,
        "axes.labelcolor": INK,
        "xtick.color": INK,
        "ytick.color": INK,
    }
    paths = list(dict.fromkeys(each.path for each in results))
    packets = list(dict.fromkeys(each.packet for each in results))
    with plt.rc_context(style):
        figure, grid = plt.subplots(
            len(paths),
            len(packets),
            figsize=(9, 3.3 * len(paths) + 0.7),
            sharex=True,
            sharey="col",
            squeeze=False,
        )
        for row, way in enumerate(paths):
            for column, packet in enumerate(packets):
                chosen = [e for e in results if (e.path, e.packet) == (way, packet)]
                _draw_panel(grid[row][column], chosen)
                grid[row][column].set_title(f"{PACKETS[packet]}, {way}", fontsize=10.5)
        pods = sorted({each.pods for each in results})
        for axes in grid[-1]:
            axes.set_xticks(pods, [str(count) for count in pods])
            axes.set_xlabel("pods on the node")
        for axes in grid[:, 0]:
            axes.set_ylabel("cost of a packet, conntrack only = 1")
        figure.suptitle("What a policy layout adds to the forwarding path of a node", fontsize=13)
        handles, labels = grid[0][0].get_legend_handles_labels()
        figure.legend(
            handles,
            labels,
            loc="lower center",
            ncol=len(labels),
            columnspacing=1.2,
            frameon=False,
        )
        figure.tight_layout(rect=(0, 0.04, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
        plt.close(figure)


def _draw_panel(axes: Axes, results: Sequence[Result]) -> None:
    axes.axhline(1, color="#888888", linewidth=1, label="conntrack only")
    for mode in dict.fromkeys(each.mode for each in results):
        for layout, colour in COLOURS.items():
            chosen = [e for e in results if (e.mode, e.layout) == (mode, layout)]
            below = [each.ratio - min(each.ratio, each.ratio_min) for each in chosen]
            above = [max(each.ratio, each.ratio_max) - each.ratio for each in chosen]
            axes.errorbar(
                [each.pods for each in chosen],
                [each.ratio for each in chosen],
                yerr=[below, above],
                color=colour,
                linestyle=STYLES[mode],
                marker=MARKERS[mode],
                markersize=5,
                capsize=3,
                label=f"{layout}, {mode}",
            )
    axes.grid(axis="y", color="#e4e4e4")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
