"""How well batches of shifted samples are told from others, by their size and by what is looked
at.
"""

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from pandas import DataFrame

from ahsar_eval.plots.pages import draw_lines, panel_pages
from ahsar_eval.plots.style import PALE, Drawn, drawable, elided, grouped, number_range, other_looks
from ahsar_eval.results.results import Results
from ahsar_eval.results.table import Row

TITLES = {
    "effort": "effort of thresholds",
    "rates": "rates",
    "judged": "rates, judged by chance",
    "entropy": "entropy of predictions",
}
COLUMNS = "name checkpoint statistic batch place value low high".split()


def monitor(results: Results) -> Iterator[Drawn]:
    """AUROC over the size of batches, a line per statistic: a panel per set, per shift (the mean of
    its severities), and per mean over shifts or sets; a column per network.

    Drawn: name, checkpoint, statistic, batch, place (of the size among all), value, low, high.
    """
    rows = _shown(results)
    drawable("monitor", [(row["label"], f"{row['name']}, {row['batch']}") for row in rows])
    sizes = sorted({row["batch"] for row in rows})
    table = DataFrame(
        [
            {
                **row,
                "checkpoint": row["label"],
                "statistic": title,
                "place": sizes.index(row["batch"]),
                "value": row[f"auroc_{name}"],
                **{end: row[f"auroc_{name}_{end}"] for end in ("low", "high")},
            }
            for row in rows
            for name, title in TITLES.items()
        ],
        columns=COLUMNS,
    ).astype({"value": float, "low": float, "high": float})
    pages = panel_pages(
        table,
        partial(_draw, sizes, _lowest(table)),
        heights=(0.6,),
        x="samples in a batch",
        y="AUROC",
        across="checkpoint",
        heads={name: name for name in table.checkpoint.unique()},
        shared=True,
        said=_said(results.records["id"]),
    )
    yield Drawn("monitor", pages, table)


def _shown(results: Results) -> list[Row]:
    """Means over several sets first, then the sets, a shift at several severities as their mean."""
    means = results.records["means"]
    wide = [row for row in means if row["shift"] is None]
    of_shifts = [row for row in means if row["shift"] is not None]
    held = {(row["label"], row["set"], row["shift"]) for row in of_shifts}
    alone = [
        row
        for row in results.records["rows"]
        if (row["label"], row["set"], row["shift"]) not in held
    ]
    return [*wide, *alone, *of_shifts]


def _said(rows: Sequence[Row]) -> str:
    """The ID sets, and how many batches of each size they are."""
    sets = elided(", ".join(dict.fromkeys(row["id"] for row in rows)), 1.5)
    sizes = grouped(rows, "batch").items()
    counts = [f"{number_range(row['id_batches'] for row in own)} of {n}" for n, own in sizes]
    return f"ID set {sets}, batches: {', '.join(counts)}"


def _lowest(table: DataFrame) -> float:
    """Where the axes of all panels begin: below all that is drawn, and below chance."""
    return min(0.45, float(table[["value", "low"]].min().min()) - 0.03)


def _draw(sizes: list[int], lowest: float, own: DataFrame, axes: Any) -> None:
    axes.axhline(0.5, color=PALE, linewidth=0.6, zorder=0.5)
    look = other_looks(TITLES.values())
    draw_lines(axes, own, look, "place", by="statistic", markersize=3, clip_on=False)
    axes.set_xticks(range(len(sizes)), map(str, sizes))
    axes.set(xlim=(-0.15, len(sizes) - 0.85), ylim=(lowest, 1.02))
