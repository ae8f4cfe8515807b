"""What an evaluation found, and every form in which a reader wants it."""

import html
import importlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ahsar_eval.errors import UsageError
from ahsar_eval.files import csv_text, write_text
from ahsar_eval.results import ANIMATION, FIGURES, FILES, FORMATS
from ahsar_eval.results.table import Row, Table
from ahsar_eval.results.text import (
    html_table,
    latex_table,
    markdown_table,
    paragraphs,
    terminal_width,
    text_table,
)

if TYPE_CHECKING:
    import pandas as pd

_SETTINGS = (  # that make one table
    *("seed", "tpr", "bootstrap_replicates", "on", "scales"),
    *("draws", "regulate", "false_alarms"),
)


@dataclass(frozen=True)
class Kind:
    """How results of one evaluation are shown; declared beside it, once.

    `axes` are the keys that say what a row is of, in the order of the frame's columns; of a row's
    other numbers each is a metric, but for those `aside`. `n` is the key of the number of samples.
    `tables(results, detail)` and `notes(results)` are what a reader sees; `content` is the JSON
    without provenance, or a list of objects. `listed` are the lists of records that are the CSV
    and the frame, all where none is named; without such a choice or with `lists_named` a column
    `row` of the CSV says which list a row is of. `value` is the key of the number where every
    record has one, named by its "metric".
    """

    name: str
    axes: Sequence[str]
    tables: Callable[["Results", bool], list[Table]]
    notes: Callable[["Results"], list[str]]
    n: str = "n"
    aside: Sequence[str] = ()
    content: Callable[["Results"], Any] = lambda results: dict(results.records)
    listed: Sequence[str] = ()
    lists_named: bool = False
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
    def listed(self) -> list[tuple[str, Row]]:
        """The records that are the CSV and the frame, with the name of the list each stands in."""
        named = self.kind.lists_named or not self.kind.listed
        return [
            (name, {"row": name, **row} if named else row)
            for name in self.kind.listed or self.records
            for row in self.records.get(name, ())
        ]

    @property
    def frame(self) -> "pd.DataFrame":
        """One number a row: what it is of, metric, value, low, high, method and n."""
        import pandas as pd

        rows = [found for name, row in self.listed for found in _tidy(name, row, self.kind)]
        columns = ["of", *self.kind.axes, "metric", "value", "low", "high", "method", "n"]
        return pd.DataFrame(rows, columns=list(dict.fromkeys(columns)))

    def __getattr__(self, name: str) -> "pd.DataFrame":
        """A list of records as a frame, a column per key: `result.layers` of "layer"."""
        records = self.__dict__.get("records", {})
        found = records.get(name, records.get(name.removesuffix("s")))
        if not records:  # of an object that is being copied
            raise AttributeError(name)
        if found is None:
            raise AttributeError(
                f"results of {self.kind.name} have no {name!r}; their records are "
                f"{', '.join(records)}"
            )
        import pandas as pd

        return pd.DataFrame(list(found))

    @property
    def passed(self) -> bool | None:
        """Whether every requirement is met, by every network; None where nothing was required."""
        asked = self.records.get("requirements")
        return all(row["passed"] for row in asked) if asked else None

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
        drawn = [
            latex_table(table, () if i else origin_lines(self.facts))
            for i, table in enumerate(self.tables(detail=detail))
        ]
        return "\n\n".join([*drawn, "\n".join(f"% {note}" for note in self.notes)])

    def to_csv(self) -> str:
        """The records, every number in full; `row` says what a row is where there are several."""
        return csv_text([row for _, row in self.listed])

    def to_json(self) -> str:
        """Everything with its provenance; a number that is not finite is refused, not written."""
        found, origin = self.kind.content(self), {**self.facts, "notes": self.notes}
        if isinstance(found, list):
            content: Any = [{**one, "provenance": origin} for one in found]
        else:
            content = {**found, "provenance": origin}
        return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)

    def to(self, form: str, *, detail: bool = False, colour: bool = False) -> str:
        """One of `FORMATS`; `colour` is for a table on a terminal. Raises `UsageError` for
        another.
        """
        if form not in FORMATS:
            raise UsageError(f"unknown format {form!r}; known are {', '.join(FORMATS)}")
        if form == "table":
            return self.to_text(detail=detail, width=terminal_width(), colour=colour)
        if form in ("json", "csv"):
            return self.to_json() if form == "json" else self.to_csv()
        return self.to_latex(detail=detail) if form == "latex" else self.to_markdown(detail=detail)

    def save(self, folder: str | Path) -> list[Path]:
        """Write JSON, CSV, Markdown and LaTeX to `folder`, all tables in full; to a name that ends
        in .png, .pdf or .svg draw the first figure, of a raster to .gif its animation. Returns the
        files. Raises `OutputError`, and `UsageError` for a suffix that these results do not have.
        """
        suffix = Path(folder).suffix.lower()
        if suffix in (*FIGURES, ANIMATION):
            return list(_plots().save(self, folder))
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
        return _plots().plot(self, name, out)

    def __add__(self, other: "Results") -> "Results":
        """Both, row after row. Raises `UsageError` for results of another kind or asked otherwise,
        and for comparisons, whose p-values are corrected over one table.
        """
        if not isinstance(other, Results):
            return NotImplemented
        if self.kind.value:
            raise UsageError(f"results of {self.kind.name} do not add up; ask for all in one call")
        for name in ("kind", *_SETTINGS):
            mine, theirs = ({**one.facts, "kind": one.kind.name}.get(name) for one in (self, other))
            if mine != theirs:
                raise UsageError(
                    f"results of {name} {mine} and of {name} {theirs} do not add up; ask both alike"
                )
        both = {
            name: [*self.records.get(name, ()), *other.records.get(name, ())]
            for name in {**self.records, **other.records}
        }
        checkpoints = [row for one in (self, other) for row in one.facts.get("checkpoints", ())]
        return replace(
            self,
            records=both,
            facts={**self.facts, "checkpoints": checkpoints},
            said=list(dict.fromkeys([*self.said, *other.said])),
            arrays={**self.arrays, **other.arrays},
        )

    def __repr__(self) -> str:
        return self.to("table")

    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in self.notes)
        return "\n".join([*map(html_table, self.tables()), f"<ul>{notes}</ul>"])


def _plots() -> Any:
    """What draws figures; it stands above this folder, and is loaded for the first figure."""
    return importlib.import_module("ahsar_eval.plots")


def write_forms(folder: str | Path, name: str, texts: Mapping[str, str]) -> list[Path]:
    """Write texts by form as `name`.json, .csv, .md and .tex. Raises `OutputError`."""
    files = {Path(folder) / f"{name}{suffix}": texts[form] for form, suffix in FILES.items()}
    for file, text in files.items():
        write_text(file, text.rstrip("\n") + "\n")
    return list(files)


def origin_lines(facts: Mapping[str, Any]) -> list[str]:
    """Provenance for a reader, a line each."""
    lines = [
        f"command: {facts['command']}",
        f"time: {facts['time']}, seed: {facts.get('seed', 'none')}, threads: {facts['threads']}",
        "versions: " + ", ".join(f"{name} {v}" for name, v in facts["versions"].items()),
    ]
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
    known = {"of": of, **{axis: record.get(axis) for axis in kind.axes}, "n": record.get(kind.n)}
    if kind.value:
        return [{**record, **known, "value": record[kind.value]}]
    found = []
    for name, value in record.items():
        whole = name.removesuffix("_low").removesuffix("_high")
        if name in (*kind.axes, *kind.aside, kind.n) or (whole != name and whole in record):
            continue
        if isinstance(value, bool) or not isinstance(value, Real):
            continue  # a text, or a metric that is not defined
        found.append(
            {
                **known,
                "metric": name,
                "value": value,
                "low": record.get(f"{name}_low"),
                "high": record.get(f"{name}_high"),
                "method": record.get(f"{name}_interval"),
            }
        )
    return found
