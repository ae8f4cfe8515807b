"""`ahsar-eval data`: which sets and shifts there are, what they hold, and what they look like."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ahsar_eval.cli.commands import Group, announce, check_figure, own_options, takes
from ahsar_eval.data import (
    EVENT_SHIFTS,
    SETS,
    SEVERITIES,
    SHIFTS,
    DataOptions,
    open_set,
    open_splits,
    parse,
)
from ahsar_eval.data.catalogue import STORED_SETS, roles_of
from ahsar_eval.data.met import not_read
from ahsar_eval.data.sets import EMBEDDED
from ahsar_eval.errors import UsageError
from ahsar_eval.process import progress

if TYPE_CHECKING:
    from ahsar_eval.data import Entry, SampleSet

_LARGEST = 1024
_ROW = 100  # channels and time bins of a picture of a row of channels


def _sides(text: str | None) -> Sequence[int] | None:
    """Height and width of --size. Raises `UsageError`."""
    if text is None:
        return None
    try:
        height, width = map(int, text.split(","))
        if not 1 <= min(height, width) <= max(height, width) <= _LARGEST:
            raise ValueError
    except ValueError:
        raise UsageError(
            f"--size is {text!r}; expected height and width in pixels up to {_LARGEST}, such as "
            "32,32"
        ) from None
    return height, width


@click.group(cls=Group, short_help="List the known sets and shifts, describe, prepare or show one.")
def data() -> None:
    """The sets a NAME can mean."""


@data.command("list", short_help="Known sets and shifts.")
@takes(data=DataOptions)
def list_sets(data: DataOptions) -> None:
    """Known sets, whether they are there, and the shifts of images and of event recordings."""

    def state(name: str, entry: "Entry") -> str:
        if name in EMBEDDED:
            return "embedded"
        return "there" if entry.is_there(data.root) else "download" if entry.can_download else "–"

    sets = [[name, entry.modality, state(name, entry), entry.note] for name, entry in SETS.items()]
    sets += [
        ["folder:PATH", "image", "", "images on disk, one sub-folder per class"],
        ["npz:PATH", "image", "", "NumPy archive with x and, optionally, y"],
        ["events:PATH", "events", "", "event files on disk, one sub-folder per class"],
        ["tonic:NAME", "events", "", "a class of tonic.datasets, as tonic:SHD; named sets' files"],
    ]
    _print(["set", "of", "state", "note"], sets)
    click.echo(f"\nNamed sets lie in {data.root} (--data-root, AHSAR_EVAL_DATA).")
    shifts = [
        [name, shift.family, _first_paragraph(shift.apply.__doc__)]
        for name, shift in SHIFTS.items()
    ]
    click.echo()
    _print(["shift of images", "family", "what it does"], shifts)
    shifts = [[name, _first_paragraph(shift.apply.__doc__)] for name, shift in EVENT_SHIFTS.items()]
    click.echo()
    _print(["shift of events", "what it does"], shifts)


def _print(titles: list[str], rows: list[list[str]], title: str = "") -> None:
    from ahsar_eval.results.table import text_rows
    from ahsar_eval.results.text import terminal_width, text_table

    click.echo(text_table(text_rows(title, titles, rows), terminal_width()))


def _first_paragraph(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())


@data.command(short_help="Size, shape, classes and identity of one set.")
@click.argument("name")
@own_options("data info")
@takes(data=DataOptions)
def info(name: str, data: DataOptions, role: str = "test") -> None:
    """Size, shape, classes and identity of one set, and the files it consists of."""
    from ahsar_eval.data.facts import facts_of

    plain = _unshifted(name)
    found = facts_of(name, role, data)
    classes, several = ", ".join(found.classes[:12]) or "none", len(found.classes)
    rows = [
        ["split", found.role],
        ["samples", f"{found.samples:,}"],
        ["shape", "several" if found.shape is None else "x".join(map(str, found.shape))],
        ["classes", classes if several <= 12 else f"{classes}, … ({several})"],
        ["label space", found.label_space],
        ["identity", found.identity],
        ["note", found.note or "–"],
        *([["read", "; ".join(found.said)]] if found.said else []),
        *([["left out", not_read(found.skipped)]] if found.skipped else []),
    ]
    _print(["set", found.name], rows)
    if plain in SETS and SETS[plain].files:
        click.echo(f"\nFiles below {data.root}: {SETS[plain].files}")


@data.command(short_help="Download (with --download) and read a set through once.")
@click.argument("name")
@own_options("data prepare")
@takes(data=DataOptions)
def prepare(
    name: str,
    data: DataOptions,
    timesteps: int | None = None,
    frames: str = "count",
    size: str | None = None,
) -> None:
    """Read every sample of a set's splits once, so that a damaged file is found now and not after
    an hour.

    Event recordings become frames on disk where --timesteps says how many, of the sensor's size
    where --size names no other.

    \b
    ahsar-eval data prepare cifar10 --download
    ahsar-eval data prepare n-mnist --timesteps 10 --size 34,34
    """
    import numpy as np

    from ahsar_eval.data import EventSet, View, split_of
    from ahsar_eval.data.split import parse_framing

    framing, sides = parse_framing(frames), _sides(size)
    rows = []
    for found in _splits_of(name, data):
        members = np.arange(len(found))
        load: Callable[[Any], object] = found.fetch
        if isinstance(found, EventSet) and timesteps is not None:
            height, width = sides or (found.shape or (2, 1, 1))[1:]
            shape = found.polarities, height, width
            load = split_of(found, View(shape, timesteps, framing)).load
        for start in progress(members[::64], f"reading {found.name} {found.role}"):
            load(members[start : start + 64])
        rows.append([found.role, f"{len(found):,}", found.identity[:16]])
    _print(["split", "samples", "identity"], rows, name)


def _splits_of(text: str, data: DataOptions) -> "list[SampleSet]":
    """Every split that a set has, each once; of a set of stored corruptions those named. Raises
    `DataError` for one that is damaged.
    """
    name = _unshifted(text)
    if name in STORED_SETS:
        return [split.source for split in open_splits(text, (3, 32, 32), options=data)]
    found = [open_set(name, role, data) for role in roles_of(name)]
    return list({one.identity: one for one in found}.values())


def _unshifted(text: str) -> str:
    """The set's name. Raises `UsageError` for a shift of any but a set of stored corruptions."""
    spec = parse(text)
    if spec.name not in STORED_SETS and spec.variants != ((None, 0),):
        raise UsageError(
            f"{text!r} names a shift, and a set is described as it is; give {spec.name} (a shifted "
            "one is drawn by data show)"
        )
    return spec.name


@data.command(short_help="A contact sheet of a set and its shifts.")
@click.argument("spec")
@own_options("data show")
@takes(data=DataOptions)
def show(
    spec: str,
    data: DataOptions,
    out: Path = Path("sheet.png"),
    samples: int = 8,
    sample: int | None = None,
    size: str | None = None,
    role: str = "test",
    seed: int = 0,
) -> None:
    """A clean row, and below it severities 1 to 5; for NAME:all one sample, a row for each shift.
    Events are summed over time; of a row of channels, these are drawn over time.

    \b
    ahsar-eval data show digits:rotation
    ahsar-eval data show photo-patches:all --out sheet.pdf
    """
    check_figure(out)
    sides = _sides(size)
    import numpy as np

    from ahsar_eval.data import EventSet, View
    from ahsar_eval.data.events.frames import drawn as drawn_of
    from ahsar_eval.plots.pictures import SheetRow, save_sheet

    asked = parse(spec)
    shape, has_clean = (3, 32, 32), asked.name not in STORED_SETS
    if has_clean:
        source = open_set(asked.name, role, data)
        # Of several sizes: the channels of the first sample.
        shape = source.shape or (int(source.fetch(np.array([0]))[0].shape[0]), 32, 32)
    row = asked.name not in STORED_SETS and isinstance(source, EventSet) and shape[1] == 1
    height, width = sides or (min(shape[2], _ROW) if row else shape[1], _ROW if row else shape[2])
    # Of a row of channels, these over time.
    view = View((shape[0], height, width), 1, "time")
    if row:
        view = View((shape[0], 1, height), width, "time")
    splits = open_splits(spec, view, seed=seed, role=role, options=data)
    clean = open_splits(asked.name, view, role=role, options=data)[0] if has_clean else splits[0]
    count, everything = len(clean), len({shift for shift, _ in asked.variants}) > 1
    if sample is not None and not (everything and 0 <= sample < count):
        raise UsageError(f"--sample is {sample}; expected 0 to {count - 1}, with {asked.name}:all")
    chosen = np.array([count // 2 if sample is None else sample])
    if not everything:
        chosen = np.unique(np.linspace(0, count - 1, samples).round().astype(np.int64))

    def pictures(split: Any) -> Any:
        frames = split.tensors(chosen).numpy()
        return np.stack([drawn_of(frames[:, i]) for i in range(len(chosen))])

    unshifted = pictures(clean)
    drawn = {"clean": unshifted} if has_clean else {}
    title = f"{spec} ({role}{f', seed {seed}' if asked.variants != ((None, 0),) else ''})"
    if everything:
        title += f", sample {chosen[0]}, severities"
        captions = [*drawn, *map(str, SEVERITIES)]
        before = list(drawn.values())
        drawn = {
            shift: np.concatenate(before + [pictures(one) for one in splits if one.shift == shift])
            for shift in dict.fromkeys(str(split.shift) for split in splits)
        }
    else:
        classes = clean.source.classes
        captions = [
            classes[label] if 0 <= label < len(classes) else "" for label in clean.labels[chosen]
        ]
        drawn |= {f"severity {one.severity}": pictures(one) for one in splits if one.shift}
    full = unshifted.max(axis=(1, 2, 3))  # of the one sample, or of each column
    rows = [SheetRow(name, row, np.resize(full, len(row))) for name, row in drawn.items()]
    announce([save_sheet(rows, out, title=title, captions=captions)])
