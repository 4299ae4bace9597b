"""Draws the results of the agent's benchmark as one self-contained SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib

matplotlib.use("svg")
from agent_results import SOURCES
from matplotlib import pyplot as plt  # the backend is chosen before pyplot loads

if TYPE_CHECKING:
    from agent_results import Outcome
    from matplotlib.axes import Axes

COLOURS = ("#1f5fa8", "#c2571a")
STYLES = dict(zip(SOURCES, ("-", "--", ":"), strict=True))
INK = "#333333"


def draw(outcomes: Sequence[Outcome], path: Path) -> None:
    """Write how fast changes reach the kernel, and what an agent takes for it."""
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
    with plt.rc_context(style):
        figure, (latency, start, memory) = plt.subplots(
            1, 3, figsize=(11, 4), width_ratios=(2.4, 1, 1)
        )
        _draw_latency(latency, outcomes)
        _draw_bars(
            start,
            "Start to enforced, seconds",
            [[each.start, each.restart] for each in outcomes],
            ("from nothing", "restart"),
            [each.targets.start if each.targets else None for each in outcomes],
        )
        # One cluster takes ten times as long as the other.
        start.set_yscale("log")
        start.set_ylim(1, 60)
        start.set_yticks((1, 3, 10, 30), ("1", "3", "10", "30"))
        start.minorticks_off()
        _draw_bars(
            memory,
            "Memory, MiB",
            [[each.rss, each.peak] for each in outcomes],
            ("settled", "at most"),
            [each.targets.memory if each.targets else None for each in outcomes],
        )
        figure.suptitle("An agent in clusters of different size", fontsize=13)
        handles, labels = latency.get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncol=3, frameon=False, fontsize=9)
        figure.tight_layout(rect=(0, 0.1, 1, 1))
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", facecolor="white", metadata={"Date": None})
        plt.close(figure)


def _draw_latency(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    """How many of the events were enforced after so many milliseconds."""
    for colour, outcome in zip(COLOURS, outcomes, strict=False):
        for source, times in outcome.effect.items():
            ordered = sorted(1000 * each for each in times)
            shares = [100 * (index + 1) / len(ordered) for index in range(len(ordered))]
            axes.step(
                ordered,
                shares,
                where="post",
                color=colour,
                linestyle=STYLES[source],
                label=f"{outcome.name}, {source}",
            )
    axes.set_xscale("log")
    ticks = (2, 5, 10, 20, 50, 100, 200, 500)
    axes.set_xticks(ticks, [str(each) for each in ticks])
    axes.minorticks_off()
    axes.set_xlabel("milliseconds from a write to the API to its effect in the kernel")
    axes.set_ylabel("percent of events")
    axes.set_title("Single events", fontsize=10.5)
    _tidy(axes, "both")


def _draw_bars(
    axes: Axes,
    title: str,
    values: Sequence[Sequence[float]],
    names: Sequence[str],
    targets: Sequence[float | None],
) -> None:
    for index, (colour, group) in enumerate(zip(COLOURS, values, strict=False)):
        places = [index * 3 + number for number in range(len(group))]
        bars = axes.bar(places, group, color=[colour, colour + "88"], width=0.9)
        axes.bar_label(
            bars,
            fmt="%.3g",
            label_type="center",
            fontsize=9,
            color="white",
            fontweight="bold",
        )
        if (target := targets[index]) is not None:
            axes.hlines(target, places[0] - 0.5, places[-1] + 0.5, color=INK, linewidth=1)
    places = [index * 3 + number for index in range(len(values)) for number in range(len(names))]
    axes.set_xticks(places, list(names) * len(values), rotation=60, ha="right", fontsize=9)
    axes.set_title(f"{title}\n(line: target)", fontsize=10.5)
    _tidy(axes, "y")


def _tidy(axes: Axes, grid: str) -> None:
    axes.grid(axis=grid, color="#e4e4e4")  # type: ignore[arg-type]
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
