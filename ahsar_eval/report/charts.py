"""Charts of the page as SVG: small, drawn once, readable in light and dark, in print and without
JavaScript.

Every mark that stands for a number says where that number is in the JSON (`data-v`), and every
chart from which value to which its axes run (`data-x`, `data-y`: value and place of both ends), so
that a mark can be checked against its number.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from ahsar_eval.plots.ood import FEW_SAMPLES

Point = tuple[float, float]


@dataclass(frozen=True)
class Axis:
    """From value `low` at `start` to value `high` at `end`, in units of the drawing."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """The place of a value, a tenth of a unit exact."""
        share = (value - self.low) / ((self.high - self.low) or 1.0)
        return round(self.start + share * (self.end - self.start), 1)

    @property
    def told(self) -> str:
        """Both ends, for whoever checks a mark."""
        return f"{self.low:.6g} {self.start:g} {self.high:.6g} {self.end:g}"


def tag(name: str, *inner: Any, **attributes: Any) -> Markup:
    """An element; an underscore in the name of an attribute stands for a dash, None leaves it
    out.
    """
    said = Markup("").join(
        Markup(' {}="{}"').format(key.strip("_").replace("_", "-"), value)
        for key, value in attributes.items()
        if value is not None
    )
    return Markup("<{0}{1}>{2}</{0}>").format(name, said, Markup("").join(map(escape, inner)))


def path(points: Iterable[Point], x: Axis, y: Axis, close: bool = False) -> str:
    """A line through points, as an SVG path."""
    return "M" + " ".join(f"{x.at(a):g} {y.at(b):g}" for a, b in points) + ("Z" if close else "")


def chart(
    label: str,
    x: Axis,
    y: Axis,
    *marks: Any,
    ticks: tuple[Sequence[tuple[float, str]], Sequence[tuple[float, str]]],
    size: tuple[int, int] = (300, 190),
    titles: tuple[str, str] = ("", ""),
    named: str = "",
) -> Markup:
    """A drawing with axes: `ticks` of x and y as (value, text), `titles` of both; `label` is what
    it shows, for readers who do not see it.
    """
    of_x = [
        tag("text", text, x=f"{x.at(value):g}", y=y.start + 13, class_="m")
        for value, text in ticks[0]
    ]
    of_y = [
        tag("text", text, x=x.start - 5, y=f"{y.at(value) + 3.5:g}", class_="e")
        for value, text in ticks[1]
    ]
    across = "".join(f"M{x.start:g} {y.at(value):g}H{x.end:g}" for value, _ in ticks[1])
    lines = [tag("path", d=across, class_="grid")] if across else []
    middle = (x.start + x.end) / 2
    about = [
        tag("text", titles[0], x=f"{middle:g}", y=size[1] - 3, class_="m"),
        tag("text", titles[1], x=2, y=11),
    ]
    frame = tag("path", d=f"M{x.start} {y.end}V{y.start}H{x.end}", class_="axis")
    return tag(
        "svg",
        *(*lines, *of_x, *of_y, *about, frame, *marks),
        viewBox=f"0 0 {size[0]} {size[1]}",
        width=size[0],
        height=size[1],
        role="img",
        aria_label=label,
        data_x=x.told,
        data_y=y.told,
        class_=f"chart {named}".strip(),
    )


HALVES = [(0.0, "0"), (0.5, "0.5"), (1.0, "1")]


def unit_axes(size: tuple[int, int] = (300, 190)) -> tuple[Axis, Axis]:
    """Both axes from 0 to 1."""
    return Axis(0, 1, 34, size[0] - 8), Axis(0, 1, size[1] - 32, 25)


def round_steps(most: float) -> list[float]:
    """0 and the multiples up to `most` of 1, 2 or 5 times a power of ten: three to five steps; of
    nothing 0 alone.
    """
    if most <= 0:
        return [0.0]
    power = 10 ** math.floor(math.log10(most))
    step = next(one for one in (power / 5, power / 2, power, 2 * power) if most / one < 6)
    return [step * i for i in range(int(most / step) + 1)]


def histogram(facts: dict[str, Any], colour: str, score: str) -> Markup:
    """The ID set and another by a `score`: two outlines over common bins, on a root scale."""
    edges, top = facts["edges"], max(*facts["id"], *facts["values"]) or 1.0
    x, y = Axis(edges[0], edges[-1], 34, 284), Axis(0, top**0.5, 158, 25)

    def outline(values: Sequence[float]) -> str:
        ups = [
            f"V{y.at(value**0.5):g}H{x.at(edge):g}"
            for value, edge in zip(values, edges[1:], strict=True)
        ]
        return f"M{x.start:g} {y.start:g}{''.join(ups)}V{y.start:g}Z"

    ends = [(edges[0], f"{edges[0]:.3g}"), (edges[-1], f"{edges[-1]:.3g}")]
    return chart(
        f"Scores of the ID set and of {facts['ood']} under {facts['label']}",
        x,
        y,
        tag("path", d=outline(facts["id"]), class_="known"),
        tag("path", d=outline(facts["values"]), class_="other", style=f"--c:{colour}"),
        ticks=(ends, [(0.0, "0"), (top**0.5, f"{top:.2g}")]),
        titles=(score, "share of samples, √ scale; grey: ID set"),
        named="histogram",
    )


def roc(facts: dict[str, Any], colour: str) -> Markup:
    """The ROC curve of a set."""
    size = (220, 190)
    x, y = unit_axes(size)
    points = list(zip(facts["fpr"], facts["tpr"], strict=True))
    return chart(
        f"ROC of {facts['ood']} under {facts['label']}",
        x,
        y,
        tag("path", d=path([(0, 0), (1, 1)], x, y), class_="chance"),
        tag("path", d=path(points, x, y), class_="line", style=f"--c:{colour}"),
        ticks=(HALVES, HALVES),
        size=size,
        titles=("FPR", "TPR"),
        named="roc",
    )


def severities(
    metric: str, curves: Sequence[tuple[str, str, bool, Sequence[dict[str, Any]]]]
) -> Markup:
    """A metric against severity: for each network (label, colour, dashed, points), a point with
    severity, value, low, high and where its number stands.
    """
    size = (276, 190)
    last = max(point["severity"] for *_, points in curves for point in points)
    x, y = Axis(0, max(last, 1), 34, 262), Axis(0, 1, 158, 25)
    marks: list[Markup] = []
    for i, (_, colour, dashed, points) in enumerate(curves):
        line = [(point["severity"], point["value"]) for point in points]
        style = f"--c:{colour}" + (";stroke-dasharray:4 3" if dashed else "")
        marks.append(tag("path", d=path(line, x, y), class_="line", style=style))
        for point in points:
            place = x.at(point["severity"]) + 2 * i
            if point["low"] is not None:
                ends = f"M{place} {y.at(point['low'])}V{y.at(point['high'])}"
                marks.append(tag("path", d=ends, class_="line", style=f"--c:{colour}"))
            dot = {"cx": place, "cy": y.at(point["value"]), "r": 2.6, "style": f"--c:{colour}"}
            marks.append(tag("circle", **dot, class_="dot", data_v=point["path"]))
    ticks = [(float(one), "clean" if one == 0 else str(one)) for one in range(last + 1)]
    quarters = [(value / 4, f"{value / 4:g}") for value in range(5)]
    return chart(
        f"{metric} against severity",
        x,
        y,
        *marks,
        ticks=(ticks, quarters),
        size=size,
        titles=("severity", metric),
        named="severities",
    )


def forest(lines: Sequence[dict[str, Any]]) -> Markup:
    """Differences with their intervals, a line each: `name`, value, low, high, colour, path, and
    whether it is beyond chance.
    """
    ends = [one[key] for one in lines for key in ("value", "low", "high") if one[key] is not None]
    reach = max(0.01, *(abs(end) for end in ends)) * 1.05
    height = 30 + 18 * len(lines)
    left = 16 + 6 * max(len(one["name"]) for one in lines)
    x, y = Axis(-reach, reach, left, left + 340), Axis(0, 1, height - 26, 4)
    marks = [tag("path", d=f"M{x.at(0)} 4V{y.start}", class_="zero")]
    for i, one in enumerate(lines):
        at = 14 + 18 * i
        marks.append(tag("text", one["name"], x=left - 8, y=at + 4, class_="e"))
        if one["low"] is not None:
            ends_of = f"M{x.at(one['low'])} {at}H{x.at(one['high'])}"
            marks.append(tag("path", d=ends_of, class_="line", style=f"--c:{one['colour']}"))
        marks.append(
            tag(
                "circle",
                cx=x.at(one["value"]),
                cy=at,
                r=4,
                class_="dot" if one["sure"] else "dot open",
                style=f"--c:{one['colour']}",
                data_v=one["path"],
            )
        )
    step = float(f"{reach / 2:.1g}")
    ticks = [(value, f"{value:+.2g}".replace("-", "−")) for value in (-step, step)]
    return chart(
        "Differences with their 95 % intervals",
        x,
        y,
        *marks,
        ticks=([ticks[0], (0.0, "0"), ticks[1]], []),
        size=(left + 350, height),
        named="forest",
    )


def pareto(points: Sequence[dict[str, Any]]) -> Markup:
    """Accuracy against energy: a dot for each network and set, filled on the front; `colour`, and
    where both numbers stand (`path`).
    """
    size = (420, 260)
    most = max(point["energy_pj"] for point in points) / 1e3
    x, y = Axis(0, most * 1.1, 44, 410), Axis(0, 1, 224, 27)
    marks: list[Markup] = []
    for point in points:
        place = x.at(point["energy_pj"] / 1e3), y.at(point["accuracy"])
        shape = "dot" if point["front"] else "dot open"
        style = f"--c:{point['colour']}"
        told = {"class_": shape, "style": style, "data_v": point["path"]}
        if point["on"] == "ID set":
            marks.append(tag("circle", cx=place[0], cy=place[1], r=5, **told))
        else:
            a, b = place
            d = f"M{a} {b - 6}L{a + 6} {b + 5}H{a - 6}Z"
            marks.append(tag("path", d=d, **told))
    ticks = [(one, f"{one:,.10g}") for one in round_steps(most * 1.1)]
    quarters = [(value / 4, f"{value / 4:g}") for value in range(5)]
    return chart(
        "Accuracy against energy per inference",
        x,
        y,
        *marks,
        ticks=(ticks, quarters),
        size=size,
        titles=("nJ per inference", "accuracy (dot: ID set, triangle: mean of its shifts)"),
        named="pareto",
    )


def reliability(facts: dict[str, Any], colour: str, where: str) -> Markup:
    """Accuracy of bins of confidence with Wilson's interval; bins of few samples are
    faded.
    """
    size = (300, 220)
    x, y = unit_axes(size)
    marks = [tag("path", d=path([(0, 0), (1, 1)], x, y), class_="chance")]
    for i, one in enumerate(facts["bins"]):
        faded = " faded" if one["n"] < FEW_SAMPLES else ""
        corners = [
            (one["low_edge"], 0.0),
            (one["low_edge"], one["accuracy"]),
            (one["high_edge"], one["accuracy"]),
            (one["high_edge"], 0.0),
        ]
        style = f"--c:{colour}"
        bar = path(corners, x, y, close=True)
        marks.append(tag("path", d=bar, class_=f"bar{faded}", style=style))
        middle = x.at(one["confidence"])
        ends = f"M{middle} {y.at(one['accuracy_low'])}V{y.at(one['accuracy_high'])}"
        marks.append(tag("path", d=ends, class_=f"whisker{faded}"))
        dot = {"cx": middle, "cy": y.at(one["accuracy"]), "r": 2.6, "style": style}
        place = f"{where}.bins.{i}.accuracy"
        marks.append(tag("circle", **dot, class_=f"dot{faded}", data_v=place))
    return chart(
        f"Reliability of {facts['label']} on {facts['ood']}",
        x,
        y,
        *marks,
        ticks=(HALVES, HALVES),
        size=size,
        titles=("confidence", "accuracy of a bin, 95 % interval"),
        named="reliability",
    )


def risk_coverage(facts: dict[str, Any], colour: str) -> Markup:
    """The error among the samples kept; dotted the least there can be."""
    size = (300, 220)
    top = max(*facts["risk"], 0.01)
    x, y = Axis(0, 1, 34, size[0] - 8), Axis(0, top, size[1] - 32, 25)
    points = list(zip(facts["coverage"], facts["risk"], strict=True))
    last = facts["risk"][-1]
    best = [(c, max(0.0, 1 - (1 - last) / c)) for c, _ in points if c > 0]
    return chart(
        f"Risk against coverage of {facts['label']} on {facts['ood']}",
        x,
        y,
        tag("path", d=path(best, x, y), class_="chance"),
        tag("path", d=path(points, x, y), class_="line", style=f"--c:{colour}"),
        ticks=(HALVES, [(0.0, "0"), (top, f"{top:.2g}")]),
        size=size,
        titles=("coverage", "error of the kept samples; dotted: perfect order"),
        named="risk",
    )
