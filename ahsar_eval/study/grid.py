"""A study: its file, TOML, every mistake in it said in one sentence (docs/study.md), and the cells
it stands for, each a training with what it is evaluated on, under a name that says what decides it.

A cell is one value of every axis. Its key is a hash of everything that decides its numbers and of
nothing else: the study's name, the order of axes and of evaluated sets, where data lie and how many
cells run at once are not in it.
"""

import itertools
import json
import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ahsar_eval.data import SETS, DataOptions, expand_groups, parse
from ahsar_eval.data.catalogue import EVENT_FILES
from ahsar_eval.data.corruptions.weather import photographs_identity
from ahsar_eval.errors import AhsarError, UsageError, close_to
from ahsar_eval.files import sha256_of, shipped
from ahsar_eval.networks import BACKBONES
from ahsar_eval.provenance import MOST_THREADS, versions
from ahsar_eval.training.request import METHODS, TrainingRequest, check_method

Rule = Mapping[str, tuple[Any, ...]]
Point = dict[str, Any]
FIELDS = tuple(entry.name for entry in fields(TrainingRequest))
_KEY_DIGITS = 16
# Fields without effect on a method that has no controller.
_OF_CONTROLLERS: Point = {"controller": {}, "sensing": "spikes"}
_VERSIONS = ("ahsar-eval", "torch", "spikingjelly", "numpy")


@dataclass(frozen=True)
class Cell:
    """One training and its evaluation. `request` names frozen:NAME by method; `source` is then the
    key of the cell that gives the scales.

    `ood` are the sets it is evaluated on beside its own; `threads` is torch's number of threads,
    which changes the bits.
    """

    key: str
    request: TrainingRequest
    threads: int
    ood: tuple[str, ...] = ()
    source: str | None = None

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        one = self.request
        settings = "".join(f" {name}={value}" for name, value in one.controller.items())
        trained = f"{one.data} {one.paradigm} {one.step_mode} {one.backbone} {one.method}"
        return f"{trained}{settings} T={one.timesteps} seed {one.seed}"


@dataclass(frozen=True)
class Study:
    """A study's file as a value. `training` is shared by all cells, `axes` are crossed; `sets` says
    by data set what of a training is otherwise, and as "ood" what its networks are evaluated on.
    """

    name: str
    text: str
    training: Mapping[str, Any]
    axes: Mapping[str, Sequence[Any]]
    left_out: tuple[Rule, ...]
    sets: Mapping[str, Mapping[str, Any]]
    threads: int

    def cells(
        self, data: DataOptions | None = None, *, device: str | None = None
    ) -> tuple[Cell, ...]:
        """Every cell, the first seed's before the next, so that a study stopped early has something
        of everything.

        A method without a controller stands once, whatever the axes of controllers and sensing say.
        Raises `UsageError` for two equal cells, a `leave_out` that leaves out nothing, and
        frozen:NAME without the one cell that it names.
        """
        data = data or DataOptions()
        known = versions()
        shared = {
            "threads": self.threads,
            "split_seed": data.split_seed,
            "frost": None if data.frost is None else photographs_identity(data.frost),
            "versions": {name: known[name] for name in _VERSIONS},
        }
        cells: dict[str, Cell] = {}
        for point in self._points(device):
            cell = self._cell(point, shared)
            first = vars(cells.setdefault(cell.key, cell).request)
            differing = [pair for pair in vars(cell.request).items() if first[pair[0]] != pair[1]]
            if differing:
                shown = [f"{name} {first[name]!r} and {value!r}" for name, value in differing]
                raise UsageError(
                    f"two cells of the grid are equal ({', '.join(shown)} mean the same); leave "
                    "one of them out"
                )
        _check_sources(cells)
        return tuple(sorted(cells.values(), key=lambda cell: cell.request.seed))

    def _points(self, device: str | None) -> list[Point]:
        """A value for every field of a training, for every combination of the axes that is not left
        out.
        """
        shared = {**vars(TrainingRequest()), **self.training, "ood": ()}
        last = {} if device is None else {"device": device}
        points = []
        for values in itertools.product(*self.axes.values()):
            point = shared | dict(zip(self.axes, values, strict=True))
            points.append({**point, **self.sets.get(point["data"], {}), **last})
        kept = points
        for rule in self.left_out:
            for name, values in rule.items():
                if unknown := [one for one in values if one not in [p[name] for p in points]]:
                    raise UsageError(
                        f"[[leave_out]] {name} names {unknown[0]!r}, which no cell has; mend or "
                        "remove it"
                    )
            if not any(_matches(point, rule) for point in points):
                raise UsageError(
                    f"[[leave_out]] {dict(rule)} matches no cell of the grid; mend or remove it"
                )
            kept = [point for point in kept if not _matches(point, rule)]
        if not kept:
            raise UsageError("[[leave_out]] leaves out every cell of the grid; keep at least one")
        return kept

    def _cell(self, point: Point, shared: Mapping[str, Any]) -> Cell:
        method, source = point["method"], None
        controlled = check_method(method)
        asked = {name: point[name] for name in FIELDS} | ({} if controlled else _OF_CONTROLLERS)
        try:
            request = TrainingRequest(**asked)
        except AhsarError as error:
            raise UsageError(f"a cell of the grid cannot be trained: {error}") from error
        kind, _, named = method.partition(":")
        if kind == "frozen":
            if not (named in METHODS and check_method(named)):
                raise UsageError(
                    f"method {method!r} names no method with a controller; expected frozen: and "
                    "one, such as frozen:ahsar"
                )
            source = self._cell(point | {"method": named}, shared).key
            method = f"frozen:{source}"
        elif kind == "fixed":
            method = f"fixed:{float(named)!r}"
        # All parameters of a controller, not those named alone: a new default makes a new cell.
        params = request.params.to_dict() if controlled else None
        asked = {**request.to_dict(), "method": method, "controller": params}
        decided = {**shared, "request": asked, "ood": sorted(point["ood"])}
        key = sha256_of(json.dumps(decided, sort_keys=True))[:_KEY_DIGITS]
        return Cell(key, request, self.threads, point["ood"], source)


def _check_sources(cells: Mapping[str, Cell]) -> None:
    """That every frozen:NAME has its cell, and only one. Raises `UsageError`."""
    seen: list[TrainingRequest] = []
    for cell in cells.values():
        if cell.source is None:
            continue
        method = cell.request.method
        if cell.source not in cells:
            named = method.partition(":")[2]
            raise UsageError(
                f"method {method!r} takes the scales of the cell that has method {named!r} and all "
                f"else the same as {cell}, and the grid has none; add that method to the grid, or "
                f"leave {method} out"
            )
        if cell.request in seen:
            raise UsageError(
                f"method {method!r} could take the scales of several controllers; keep one of them "
                "for it with [[leave_out]]"
            )
        seen.append(cell.request)


def _matches(point: Point, rule: Rule) -> bool:
    return all(point[name] in values for name, values in rule.items())


# The file


def find_study(name: str | Path) -> Path:
    """The file of a path, or of a shipped study's name. Raises `UsageError` that lists the shipped
    ones.
    """
    path, known = Path(name).expanduser(), shipped("studies", ".toml")
    if path.is_file():
        return path
    if str(name) not in known:
        raise UsageError(
            f"no study {str(name)!r}: no such file, and none of the shipped ones "
            f"({', '.join(known)}); name a file that ends in .toml"
        )
    return known[str(name)]


def read_study(name: str | Path) -> Study:
    """The study of a file or of a shipped name. Raises `UsageError` that says what in the file is
    wrong and what was expected.
    """
    path = find_study(name)
    try:
        return study_of(path.read_text(encoding="utf-8"), path.name)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} cannot be read as UTF-8 text ({error}); mend the file") from error


def study_of(text: str, place: str) -> Study:
    """The study that `text` describes; `place` names the file in messages. Raises `UsageError`."""
    try:
        study = _study(tomllib.loads(text), text)
        study.cells()  # what is wrong with the grid as a whole
        return study
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{place} is no valid TOML ({error}); mend that line") from error
    except AhsarError as error:
        raise UsageError(f"{place}: {error}") from error


def _study(content: Mapping[str, Any], text: str) -> Study:
    _check_names(content, ("name", "training", "grid", "leave_out", "data", "run"), "the file")
    tables = {part: content.get(part, {}) for part in ("training", "grid", "data", "run")}
    for part, table in tables.items():
        if not isinstance(table, Mapping):
            raise UsageError(
                f"{part} is {table!r}; expected a table: write [{part}] and a line for each of its "
                "keys"
            )
    training, grid, data, run = tables.values()
    name = content.get("name")
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"the name is {name!r}; expected a text, such as name = 'digits'")
    _check_names(training, FIELDS, "[training]")
    _check_values(training, "[training]")
    _check_names(grid, FIELDS, "[grid]")
    for axis, values in grid.items():
        _check_axis(axis, values, training)
    trained_on = grid.get("data", [training.get("data", TrainingRequest().data)])
    for set_name in data:
        if set_name not in trained_on:
            raise UsageError(
                f"[data.{set_name}] is of a set that the grid does not train on; expected one of "
                f"{', '.join(trained_on)}"
            )
    sets = {set_name: _of_set(set_name, told, grid) for set_name, told in data.items()}
    _check_names(run, ("threads",), "[run]")
    threads = run.get("threads", 1)
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise UsageError(
            f"[run] threads is {threads!r}; expected a whole number from 1 to {MOST_THREADS}"
        )
    rules = content.get("leave_out", [])
    if not isinstance(rules, list) or not all(isinstance(one, Mapping) and one for one in rules):
        raise UsageError(
            f"leave_out is {rules!r}; expected tables with at least one key each, every one begun "
            "with [[leave_out]]"
        )
    return Study(name, text, training, grid, tuple(map(_rule, rules)), sets, threads)


def _check_names(given: Collection[str], known: Collection[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise UsageError(
                f"{where} has no {name!r}{close_to(name, known)}; known are {', '.join(known)}"
            )


def _check_axis(axis: str, values: Any, training: Mapping[str, Any]) -> None:
    if not isinstance(values, list) or not values:
        raise UsageError(
            f"[grid] {axis} is {values!r}; expected a list of at least one value, such as {axis} = "
            f"[{values!r}], or write it in [training]"
        )
    if axis in training:
        raise UsageError(f"{axis} stands in [training] and in [grid]; leave one of the two out")
    if axis == "device":
        raise UsageError(
            f"[grid] {axis} is no axis: where cells run is said by --{axis} when the study is run"
        )
    for i, value in enumerate(values):
        _check_values({axis: value}, "[grid]")
        if value in values[:i]:
            raise UsageError(f"[grid] {axis} names {value!r} twice; name it once")


def _check_values(given: Mapping[str, Any], where: str) -> None:
    """That each value alone can be one of a training. Raises `UsageError`."""
    for name, value in given.items():
        try:
            TrainingRequest(**{name: value})
            if name == "data" and parse(value).variants != ((None, 0),):
                raise UsageError(
                    f"data names the shift {value}; networks are trained on a set as it is"
                )
            if name == "data" and value in SETS and "train" not in SETS[value].roles:
                raise UsageError(
                    f"data names {value}, which has no training split; choose another set"
                )
            if name == "backbone" and value not in BACKBONES and ":" not in value:
                raise UsageError(
                    f"unknown backbone {value!r}{close_to(value, BACKBONES)}; known are "
                    f"{', '.join(BACKBONES)}, or package.module:function"
                )
        except AhsarError as error:
            raise UsageError(f"{where} {error}") from error


def _of_set(name: str, told: Any, grid: Mapping[str, Any]) -> dict[str, Any]:
    """What [data.NAME] changes of the training, and as "ood" the sets its networks are evaluated on
    beside their own.
    """
    where = f"[data.{name}]"
    if not isinstance(told, Mapping):
        raise UsageError(f"{where} is {told!r}; expected a table")
    if axes := told.keys() & grid.keys():
        raise UsageError(
            f"{where} sets {min(axes)}, which is an axis of [grid]; leave one of the two out"
        )
    known = [field for field in FIELDS if field not in ("data", "device")]
    _check_names(told, [*known, "ood"], where)
    changed = {field: value for field, value in told.items() if field != "ood"}
    _check_values(changed, where)
    listed = told.get("ood", [])
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise UsageError(
            f"{where} ood is {listed!r}; expected a list of sets, such as ['photo-patches', "
            f"'{name}:contrast:3']"
        )
    try:
        found = expand_groups(listed, name)
        for text in found:
            other = parse(text)
            if found.count(text) > 1 or listed.count(text) > 1:
                raise UsageError(f"ood names {text} twice; name it once")
            if (other.name, other.variants) == (name, ((None, 0),)):
                raise UsageError(
                    f"ood names {text}, the set itself; name another, or a shift of it"
                )
            if _modality(other.name) != _modality(name):
                raise UsageError(
                    f"ood names {text}, a set of {_modality(other.name)}, for networks of "
                    f"{_modality(name)}; name another"
                )
    except AhsarError as error:
        raise UsageError(f"{where} {error}") from error
    return {**told, "ood": tuple(found)}


def _modality(name: str) -> str:
    """Of a set, also of a user's files, as events:PATH."""
    kind = SETS[name].modality if name in SETS else name.partition(":")[0]
    return "events" if kind in EVENT_FILES else "images"


def _rule(told: Mapping[str, Any]) -> Rule:
    _check_names(told, FIELDS, "[[leave_out]]")
    rule = {}
    for name, value in told.items():
        is_list = isinstance(value, list) and name != "input_shape"
        rule[name] = tuple(value) if is_list else (value,)
        if not rule[name]:
            raise UsageError(
                f"[[leave_out]] {name} is empty; name at least one value, or leave the line out"
            )
    return rule
