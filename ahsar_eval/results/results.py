"""What an evaluation found, and every form in which a reader wants it."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import UsageError
from ahsar_eval.files import csv_text, write_text
from ahsar_eval.results.latex import latex_table
from ahsar_eval.results.table import Row, Table
from ahsar_eval.results.text import (
    html_table,
    markdown_table,
    paragraphs,
    terminal_width,
    text_table,
)

if TYPE_CHECKING:
    import pandas as pd

FORMATS = ("table", "json", "csv", "markdown", "latex")
FILES = {"json": ".json", "csv": ".csv", "markdown": ".md", "latex": ".tex"}
FIGURES = (".png", ".pdf", ".svg")
_SETTINGS = ("seed", "tpr", "bootstrap_replicates", "on", "scales")  # that make one table
_PLOTS = "ahsar_eval.plots.of_results"  # loaded when the first figure is drawn


@dataclass(frozen=True)
class Kind:
    """How results of one evaluation are shown; declared beside it, once.

    `axes` are the keys that say what a row is of, in the order of the frame's columns; of a row's
    other numbers each is a metric, but for those `aside`. `n` is the key of the number of samples.
    `tables(results, detail)` and `notes(results)` are what a reader sees; `content` is the JSON
    without provenance, or a list of objects. `listed` are the lists of records that are the CSV
    and the frame, all where none is named. `value` is the key of the number where every record has
    one, named by its "metric".
    """

    name: str
    axes: Sequence[str]
    tables: Callable[["Results", bool], list[Table]]
    notes: Callable[["Results"], list[str]]
    n: str = "n"
    aside: Sequence[str] = ()
    content: Callable[["Results"], Any] = lambda results: dict(results.records)
    listed: Sequence[str] = ()
    value: str = ""


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that one evaluation found.

    `records` are lists of flat rows by what a row is (a set, a layer, a mean): complete numbers,
    each beside the ends of its interval as `name_low` and `name_high`. `arrays` are named arrays
    for figures. `facts` is the provenance; `said` are notes of sets and scores, `by` what the
    tables show apart. Printing it prints the tables. Results of one kind add up.
    """

    kind: Kind
    records: Mapping[str, Sequence[Row]]
    facts: Mapping[str, Any]
    said: Sequence[str] = ()
    by: Sequence[str] = ()
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict, repr=False)

    @property
    def frame(self) -> "pd.DataFrame":
        """One number a row: what it is of, metric, value, low, high, method and n."""
        import pandas as pd

        rows = [
            found
            for name in self.kind.listed or self.records
            for record in self.records.get(name, ())
            for found in _tidy(name, record, self.kind)
        ]
        columns = ["of", *self.kind.axes, "metric", "value", "low", "high", "method", "n"]
        return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))

    def __getattr__(self, name: str) -> "pd.DataFrame":
        """A list of records as a frame, a column per key: `result.layers` of "layer"."""
        records = self.__dict__.get("records", {})
        for listed in (name, name.removesuffix("s")):
            if listed in records:
                import pandas as pd

                return pd.DataFrame([dict(row) for row in records[listed]])
        if not records:
            raise AttributeError(name)
        raise AttributeError(
            f"results of {self.kind.name} have no {name!r}; their records are "
            f"{', '.join(self.records)}"
        )

    @property
    def notes(self) -> list[str]:
        """What a reader must know to read the numbers."""
        return list(dict.fromkeys([*self.kind.notes(self), *self.said]))

    def tables(self, *, detail: bool = False) -> list[Table]:
        """The tables, with `detail` also those otherwise written only to files."""
        return self.kind.tables(self, detail)

    def to_text(
        self, *, detail: bool = False, width: int | None = None, colour: bool = False
    ) -> str:
        """Tables and notes for a terminal of `width` columns."""
        drawn = [text_table(one, width, colour=colour) for one in self.tables(detail=detail)]
        return "\n\n".join([*drawn, paragraphs(self.notes, width)])

    def to_markdown(self, *, detail: bool = True) -> str:
        """Tables, notes and provenance in Markdown."""
        listed = "\n".join(f"- {note}" for note in self.notes)
        origin = "\n".join(origin_lines(self.facts))
        folded = f"<details><summary>Provenance</summary>\n\n```\n{origin}\n```\n\n</details>"
        return "\n\n".join([*map(markdown_table, self.tables(detail=detail)), listed, folded])

    def to_latex(self, *, detail: bool = True) -> str:
        """Tables of booktabs, provenance and notes as comments."""
        tables = self.tables(detail=detail)
        comments = [origin_lines(self.facts), *([] for _ in tables[1:])]
        drawn = [latex_table(one, comments=by) for one, by in zip(tables, comments, strict=True)]
        return "\n\n".join([*drawn, "\n".join(f"% {note}" for note in self.notes)])

    def to_csv(self) -> str:
        """The records, every number in full; `row` says what a row is where there are several."""
        names = [name for name in self.kind.listed or self.records if name in self.records]
        if self.kind.listed:
            return csv_text([row for name in names for row in self.records[name]])
        return csv_text([{"row": name, **row} for name in names for row in self.records[name]])

    def to_json(self) -> str:
        """Everything with its provenance; a number that is not finite is refused, not written."""
        found, origin = self.kind.content(self), {**self.facts, "notes": self.notes}
        content = (
            [{**one, "provenance": origin} for one in found]
            if isinstance(found, list)
            else {**found, "provenance": origin}
        )
        return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)

    def to(self, form: str, *, detail: bool = False) -> str:
        """One of `FORMATS`. Raises `UsageError` for another."""
        if form == "table":
            return self.to_text(detail=detail, width=terminal_width())
        forms = {"json": self.to_json, "csv": self.to_csv}
        shown = {"markdown": self.to_markdown, "latex": self.to_latex}
        if form in forms:
            return forms[form]()
        if form in shown:
            return shown[form](detail=detail)
        raise UsageError(f"unknown format {form!r}; known are {', '.join(FORMATS)}")

    def save(self, folder: str | Path) -> list[Path]:
        """Write JSON, CSV, Markdown and LaTeX to `folder`, all tables in full; to a name that ends
        in .png, .pdf or .svg draw the first figure. Returns the files. Raises `OutputError`.
        """
        suffix = Path(folder).suffix.lower()
        if suffix in FIGURES:
            import importlib

            return list(importlib.import_module(_PLOTS).save(self, folder))
        if suffix in FILES.values():
            raise UsageError(
                f"save takes a folder, or a figure's name that ends in {', '.join(FIGURES)}, and "
                f"was given {str(folder)!r}"
            )
        texts = {form: self.to(form, detail=True) for form in FILES}
        return write_forms(folder, self.kind.name, texts)

    def plot(self, name: str = "", out: str | Path | None = None) -> Any:
        """Draw the figure `name`, or the first there is; written to `out` where that is given.

        Returns the matplotlib figure. Raises `UsageError` for a figure that these results do not
        have.
        """
        import importlib

        return importlib.import_module(_PLOTS).plot(self, name, out)

    def __add__(self, other: "Results") -> "Results":
        """Both, row after row. Raises `UsageError` for results of another kind or asked otherwise,
        and for comparisons, whose p-values are corrected over one table.
        """
        if not isinstance(other, Results):
            return NotImplemented
        if self.kind.value:
            raise UsageError(f"results of {self.kind.name} do not add up; ask for all in one call")
        if other.kind.name != self.kind.name:
            raise UsageError(
                f"results of {self.kind.name} and of {other.kind.name} do not add up; expected two "
                "of one kind"
            )
        for name in _SETTINGS:
            mine, theirs = self.facts.get(name), other.facts.get(name)
            if mine != theirs:
                raise UsageError(
                    f"results of {name} {mine} and of {name} {theirs} do not add up; ask both alike"
                )
        names = dict.fromkeys([*self.records, *other.records])
        both = {name: [*self.records.get(name, ()), *other.records.get(name, ())] for name in names}
        checkpoints = [*self.facts.get("checkpoints", ()), *other.facts.get("checkpoints", ())]
        return replace(
            self,
            records=both,
            facts={**self.facts, "checkpoints": checkpoints},
            said=list(dict.fromkeys([*self.said, *other.said])),
            arrays={**self.arrays, **other.arrays},
        )

    def __str__(self) -> str:
        return self.to("table")

    def __repr__(self) -> str:
        return self.to("table")

    def _repr_html_(self) -> str:
        import html

        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return "\n".join([*map(html_table, self.tables()), f"<ul>{notes}</ul>"])


def write_forms(folder: str | Path, name: str, texts: Mapping[str, str]) -> list[Path]:
    """Write texts by form as `name`.json, .csv, .md and .tex. Raises `OutputError`."""
    written = []
    for form, suffix in FILES.items():
        written.append(Path(folder) / f"{name}{suffix}")
        write_text(written[-1], texts[form].rstrip("\n") + "\n")
    return written


def origin_lines(facts: Mapping[str, Any]) -> list[str]:
    """Provenance for a reader, a line each."""
    lines = [
        f"command: {facts['command']}",
        f"time: {facts['time']}, seed: {facts.get('seed', 'none')}, threads: {facts['threads']}",
    ]
    lines.append("versions: " + ", ".join(f"{name} {v}" for name, v in facts["versions"].items()))
    sets: dict[str, str] = {}
    for checkpoint in facts["checkpoints"]:
        lines.append(
            f"checkpoint: {checkpoint['name']}, sha256 {checkpoint['sha256']}, thresholds: "
            f"{checkpoint['thresholds']}"
        )
        for part in ("id", "data", "ood", "shifts", "fitted_on"):
            found = checkpoint.get(part, ())
            for split in [found] if isinstance(found, Mapping) else found:
                sets[f"{split['name']} ({split['role']})"] = split["identity"]
    return lines + [f"split: {name}, identity {identity}" for name, identity in sets.items()]


def _tidy(of: str, record: Row, kind: Kind) -> list[dict[str, Any]]:
    """A record as one row for each of its numbers."""
    known = {axis: record.get(axis) for axis in kind.axes}
    if kind.value:
        return [{"of": of, **record, **known, "value": record[kind.value], "n": record[kind.n]}]
    found = []
    for name, value in record.items():
        whole = name.removesuffix("_low").removesuffix("_high")
        if name in (*kind.axes, *kind.aside, kind.n) or (whole != name and whole in record):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            continue  # a text, or a metric that is not defined
        found.append(
            {
                "of": of,
                **known,
                "metric": name,
                "value": value,
                "low": record.get(f"{name}_low"),
                "high": record.get(f"{name}_high"),
                "method": record.get(f"{name}_interval"),
                "n": record.get(kind.n),
            }
        )
    return found
