"""Panels of a threshold sweep: curves over s, r with G and −∂r/∂θ, trainings by epoch, and what the
signs in them mean.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ahsar_eval.plots.energy_axis import decimal_ticks, energy_unit
from ahsar_eval.plots.fitting import elided_names
from ahsar_eval.plots.layout import extent, heading, short_number, tidy_ticks
from ahsar_eval.plots.severity_grid import with_margin
from ahsar_eval.plots.style import DOUBLE_IN, INK, PALE, Look, shades
from ahsar_eval.plots.sweep_content import CONVERGENCE, GATES, ConvergenceSweep, ThresholdSweep
from ahsar_eval.plots.sweep_pages import PanelRow

_WIDE_RANGE = 8.0
_GATE_LOOKS = {
    "rate": (7, "-"),
    "gate": (4, (0, (4, 1.4))),
    "slope": (2, (0, (1, 1.1))),
}  # place in seaborn's palette, line
_OF_LAYERS: dict[str, Any] = {"linewidth": 0.5, "alpha": 0.28, "zorder": 1.5}


# --- panels of a checkpoint
# --------------------------------------------------------------------------------------------------


def curve_rows(sweeps: Sequence[ThresholdSweep], look: Mapping[str, Look]) -> list[PanelRow]:
    """Panels of every curve, four side by side where there are four, else three."""
    names = list(dict.fromkeys(name for sweep in sweeps for name in sweep.curves))
    columns = 4 if len(names) == 4 else 3
    panels: list[tuple[str, Callable[[Any], None]]] = [
        (name, _curve_panel(name, sweeps, look)) for name in names
    ]
    return [
        PanelRow(columns, 1.1, panels[place : place + columns])
        for place in range(0, len(panels), columns)
    ]


def _curve_panel(
    name: str, sweeps: Sequence[ThresholdSweep], look: Mapping[str, Look]
) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        own = [sweep for sweep in sweeps if name in sweep.curves]
        unit, of = (
            energy_unit(max(float(sweep.curves[name].value.max()) for sweep in own))
            if name == "energy"
            else ("", 1.0)
        )
        for sweep in own:
            band, colour = sweep.curves[name], look[sweep.checkpoint].colour
            if np.isfinite(band.low).any():
                axes.fill_between(
                    sweep.scales,
                    band.low / of,
                    band.high / of,
                    color=colour,
                    alpha=0.15,
                    linewidth=0,
                )
            axes.plot(
                sweep.scales,
                band.value / of,
                color=colour,
                linestyle=look[sweep.checkpoint].line,
                label=sweep.checkpoint,
            )
            _mark_range(axes, sweep.own.low, sweep.own.high, colour)
            if name in sweep.own.curves:
                axes.plot(
                    sweep.own.scale,
                    sweep.own.curves[name] / of,
                    **_ring(colour),
                    label=f"{sweep.checkpoint}, own",
                )
        low, high = extent(
            [
                part / of
                for sweep in own
                for b in [sweep.curves[name]]
                for part in (b.value, b.low, b.high)
            ]
        )
        points = [sweep.own.curves[name] / of for sweep in own if name in sweep.own.curves]
        low, high = min([low, *points]), max([high, *points])
        axes.set_ylim(*with_margin(0.0 if name in ("rate", "energy") else low, high))
        tidy_ticks(axes.yaxis)
        _limit_scales(axes, sweeps)
        heading(axes, f"energy per inference ({unit})" if unit else name)

    return draw


def gate_rows(sweeps: Sequence[ThresholdSweep], look: Mapping[str, Look]) -> list[PanelRow]:
    """A panel of r, G and −∂r/∂θ per checkpoint, all with one scale."""
    columns = 1 if len(sweeps) == 1 else 2
    shown = elided_names([sweep.checkpoint for sweep in sweeps], DOUBLE_IN / columns - 0.8)
    top = max(
        (float(values.max()) for sweep in sweeps for values in sweep.gates.values()), default=1.0
    )
    panels = [
        (f"gate {sweep.checkpoint}", _gate_panel(sweep, look, shown[sweep.checkpoint], top, sweeps))
        for sweep in sweeps
    ]
    return [
        PanelRow(columns, 1.9, panels[place : place + columns])
        for place in range(0, len(panels), columns)
    ]


def _gate_panel(
    sweep: ThresholdSweep,
    look: Mapping[str, Look],
    title: str,
    top: float,
    sweeps: Sequence[ThresholdSweep],
) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        for name, values in sweep.gates.items():
            colour, line = _gate_look(name)
            for layer in values.T:
                axes.plot(sweep.scales, layer, color=colour, linestyle=line, **_OF_LAYERS)
            axes.plot(
                sweep.scales,
                values.mean(axis=1),
                color=colour,
                linestyle=line,
                linewidth=1.6,
                zorder=3,
                label=name,
            )
            axes.plot(sweep.own.scale, sweep.own.gates[name], **_ring(colour), label=f"{name}, own")
        _mark_range(axes, sweep.own.low, sweep.own.high, look[sweep.checkpoint].colour)
        axes.set_ylim(*with_margin(0.0, top))
        tidy_ticks(axes.yaxis, 6)
        _limit_scales(axes, sweeps)
        heading(axes, title)

    return draw


def _gate_look(name: str) -> tuple[Any, Any]:
    import seaborn as sns

    place, line = _GATE_LOOKS[name]
    return tuple(sns.color_palette("colorblind")[place]), line


def _limit_scales(axes: Any, sweeps: Sequence[ThresholdSweep]) -> None:
    low, high = extent(
        [np.append(sweep.scales, [sweep.own.low, sweep.own.high]) for sweep in sweeps]
    )
    axes.set_xlim(*with_margin(low, high))
    tidy_ticks(axes.xaxis, 5)


def _mark_range(axes: Any, low: float, high: float, colour: Any) -> None:
    if low < high:
        axes.axvspan(low, high, color=colour, alpha=0.16, linewidth=0, zorder=0.4)


def _ring(colour: Any) -> dict[str, Any]:
    return {
        "linestyle": "",
        "marker": "o",
        "markersize": 5,
        "markerfacecolor": "white",
        "markeredgecolor": colour,
        "markeredgewidth": 1.1,
        "zorder": 4,
    }


# --- panels of trainings
# --------------------------------------------------------------------------------------------------


def convergence_row(found: ConvergenceSweep) -> PanelRow:
    """A panel for each of `CONVERGENCE`: a line per epoch, AHSAR beside them."""
    return PanelRow(3, 1.5, [(name, _convergence_panel(name, found)) for name in CONVERGENCE])


def _convergence_panel(name: str, found: ConvergenceSweep) -> Callable[[Any], None]:
    def draw(axes: Any) -> None:
        values = found.values[name]
        fixed, regulated = _epoch_colours(len(values))
        for epoch, (line, colour) in enumerate(zip(values, fixed, strict=True), start=1):
            axes.plot(found.scales, line, color=colour, linewidth=0.9, label=f"epoch {epoch}")
        if (found.scales == 1).any():
            axes.axvline(1, color=PALE, linestyle=":", linewidth=0.9, zorder=0.5, label="baseline")
        every = [values]
        if found.regulated is not None:
            own = found.regulated[name]
            every.append(own)
            _mark_range(axes, found.low, found.high, regulated[-1])
            for epoch, (value, colour) in enumerate(zip(own, regulated, strict=False), start=1):
                axes.plot(
                    found.scale,
                    value,
                    linestyle="",
                    marker="s",
                    markersize=3,
                    color=colour,
                    zorder=4,
                    label=f"AHSAR, epoch {epoch}",
                )
        low, high = extent(every)
        if name.endswith("loss") and low > 0 and high / low > _WIDE_RANGE:
            low, high = low / (high / low) ** 0.05, high * (high / low) ** 0.05
            axes.set_yscale("log")
            ticks = decimal_ticks(low, high)
            axes.set_yticks(ticks, [short_number(tick) for tick in ticks])
            axes.set_yticks([], minor=True)
            axes.set_ylim(low, high)
        else:
            axes.set_ylim(*with_margin(low, high))
            tidy_ticks(axes.yaxis)
        axes.set_xlim(*with_margin(*extent([np.append(found.scales, [found.low, found.high])])))
        tidy_ticks(axes.xaxis, 5)
        heading(axes, CONVERGENCE[name])

    return draw


def _epoch_colours(epochs: int) -> tuple[list[Any], list[Any]]:
    """Shades for trainings at fixed factors and for AHSAR's, from the first epoch to the last."""
    import seaborn as sns

    palette = sns.color_palette("colorblind")
    return list(shades(tuple(palette[0]), epochs)), list(shades(tuple(palette[1]), epochs))


# --- what the signs mean
# --------------------------------------------------------------------------------------------------


def own_signs(sweeps: Sequence[ThresholdSweep]) -> list[tuple[Any, str]]:
    """What a ring and a band are."""
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    signs: list[tuple[Any, str]] = [
        (Line2D([], [], **_ring(INK)), "the network's own thresholds (mean factor)")
    ]
    if any(sweep.own.low < sweep.own.high for sweep in sweeps):
        signs.append(
            (Patch(facecolor=INK, alpha=0.16, linewidth=0), "range of its factors over layers")
        )
    return signs


def gate_signs() -> list[tuple[Any, str]]:
    """What the lines of a gate panel are."""
    from matplotlib.lines import Line2D

    signs: list[tuple[Any, str]] = []
    for name, text in GATES.items():
        colour, line = _gate_look(name)
        signs.append((Line2D([], [], color=colour, linestyle=line, linewidth=1.6), text))
    return [
        *signs,
        (Line2D([], [], color=INK, **{**_OF_LAYERS, "linewidth": 0.7, "alpha": 0.5}), "one layer"),
    ]


def epoch_signs(found: ConvergenceSweep) -> list[tuple[Any, str]]:
    """What the lines and squares of trainings are."""
    from matplotlib.lines import Line2D

    epochs = len(next(iter(found.values.values())))
    fixed, regulated = _epoch_colours(epochs)
    ends = sorted({0, epochs - 1})
    signs: list[tuple[Any, str]] = [
        (Line2D([], [], color=fixed[end], linewidth=0.9), f"trained at s, epoch {end + 1}")
        for end in ends
    ]
    if (found.scales == 1).any():
        signs.append(
            (Line2D([], [], color=PALE, linestyle=":", linewidth=0.9), "the baseline's factor")
        )
    if found.regulated is not None:
        square: dict[str, Any] = {"linestyle": "", "marker": "s", "markersize": 3}
        signs += [
            (Line2D([], [], color=regulated[end], **square), f"AHSAR, epoch {end + 1}")
            for end in ends
        ]
    return signs
