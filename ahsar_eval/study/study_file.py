"""A study's file: TOML read into a `Study`, every mistake in it said in one sentence
(docs/study.md).
"""

import difflib
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ahsar_eval.data import SETS, expand_groups, parse
from ahsar_eval.errors import AhsarError, UsageError
from ahsar_eval.networks import BACKBONES
from ahsar_eval.provenance import MOST_THREADS
from ahsar_eval.study.grid import Rule, Study
from ahsar_eval.training.request import TrainingRequest

FIELDS = tuple(entry.name for entry in fields(TrainingRequest))


def studies_folder() -> Path:
    """Where the studies that ship with the package lie: inside the wheel, or beside the package in
    a clone.
    """
    package = Path(__file__).parent.parent
    inside = package / "_studies"
    return inside if inside.is_dir() else package.parent / "studies"


def shipped_studies() -> list[str]:
    """Names of the shipped studies."""
    return sorted(path.stem for path in studies_folder().glob("*.toml"))


def find_study(name: str | Path) -> Path:
    """The file of a path, or of a shipped study's name. Raises `UsageError` that lists the shipped
    ones.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    if str(name) in shipped_studies():
        return studies_folder() / f"{name}.toml"
    known = ", ".join(shipped_studies()) or "none"
    raise UsageError(
        f"no study {str(name)!r}: no such file, and none of the shipped ones ({known}); name a "
        "file that ends in .toml"
    )


def read_study(name: str | Path) -> Study:
    """The study of a file or of a shipped name. Raises `UsageError` that says what in the file is
    wrong and what was expected.
    """
    path = find_study(name)
    try:
        text = path.read_bytes().decode()
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}; check its permissions"
        ) from error
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{path} is no UTF-8 text (byte {error.start}); save it as UTF-8"
        ) from error
    return study_of(text, path.name)


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
    name = content.get("name")
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"the name is {name!r}; expected a text, such as name = 'digits'")
    training, grid, run = (_table(content, part) for part in ("training", "grid", "run"))
    _check_names(training, FIELDS, "[training]")
    _check_names(grid, FIELDS, "[grid]")
    for axis, values in grid.items():
        _check_axis(axis, values, training)
    for field, value in training.items():
        _check_value(field, value, "[training]")
    sets = grid.get("data", [training.get("data", TrainingRequest().data)])
    overrides, evaluated = {}, {}
    for set_name, told in _table(content, "data").items():
        if set_name not in sets:
            raise UsageError(
                f"[data.{set_name}] is of a set that the grid does not train on; expected one of "
                f"{', '.join(sets)}"
            )
        overrides[set_name], evaluated[set_name] = _of_set(set_name, told, grid)
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
    left_out = tuple(map(_rule, rules))
    axes = {axis: tuple(values) for axis, values in grid.items()}
    return Study(name, text, training, axes, left_out, overrides, evaluated, threads)


def _table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = content.get(name, {})
    if not isinstance(found, Mapping):
        raise UsageError(
            f"{name} is {found!r}; expected a table: write [{name}] and a line for each of its keys"
        )
    return found


def _check_names(given: Collection[str], known: Collection[str], where: str) -> None:
    for name in given:
        if name not in known:
            raise UsageError(
                f"{where} has no {name!r}{_meant(name, known)}; known are {', '.join(known)}"
            )


def _meant(name: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {near[0]}?)" if near else ""


def _check_axis(axis: str, values: Any, training: Mapping[str, Any]) -> None:
    if not isinstance(values, list):
        raise UsageError(
            f"[grid] {axis} is {values!r}; expected a list, such as {axis} = [{values!r}], or "
            "write it in [training]"
        )
    if not values:
        raise UsageError(f"[grid] {axis} is empty; name at least one value, or leave the line out")
    if axis in training:
        raise UsageError(f"{axis} stands in [training] and in [grid]; leave one of the two out")
    if axis == "device":
        raise UsageError(
            f"[grid] {axis} is no axis: where cells run is said by --{axis} when the study is run"
        )
    for i, value in enumerate(values):
        _check_value(axis, value, "[grid]")
        if value in values[:i]:
            raise UsageError(f"[grid] {axis} names {value!r} twice; name it once")


def _check_value(field: str, value: Any, where: str) -> None:
    """That a value alone can be one of a training. Raises `UsageError`."""
    try:
        TrainingRequest(**{field: value})
        if field == "data":
            _check_trainable(value)
        if field == "backbone" and value not in BACKBONES and ":" not in value:
            raise UsageError(
                f"unknown backbone {value!r}{_meant(value, BACKBONES)}; known are "
                f"{', '.join(BACKBONES)}, or package.module:function"
            )
    except AhsarError as error:
        raise UsageError(f"{where} {error}") from error


def _check_trainable(name: str) -> None:
    if parse(name).variants != ((None, 0),):
        raise UsageError(f"data names the shift {name}; networks are trained on a set as it is")
    if name in SETS and "train" not in SETS[name].roles:
        raise UsageError(f"data names {name}, which has no training split; choose another set")


def _of_set(
    name: str, told: Any, grid: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """What [data.NAME] changes of the training, and the sets its networks are evaluated on beside
    their own.
    """
    where = f"[data.{name}]"
    if not isinstance(told, Mapping):
        raise UsageError(f"{where} is {told!r}; expected a table")
    changed = {field: value for field, value in told.items() if field != "ood"}
    known = [field for field in FIELDS if field not in ("data", "device")]
    _check_names(changed, [*known, "ood"], where)
    for field, value in changed.items():
        if field in grid:
            raise UsageError(
                f"{where} sets {field}, which is an axis of [grid]; leave one of the two out"
            )
        _check_value(field, value, where)
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
    return changed, tuple(found)


def _modality(name: str) -> str:
    """Of a set, also of a user's files, as events:PATH."""
    kind = SETS[name].modality if name in SETS else name.partition(":")[0]
    return "events" if kind == "events" else "images"


def _rule(told: Mapping[str, Any]) -> Rule:
    _check_names(told, FIELDS, "[[leave_out]]")
    rule = {}
    for field, value in told.items():
        is_list = isinstance(value, list) and field != "input_shape"
        rule[field] = tuple(value) if is_list else (value,)
        if not rule[field]:
            raise UsageError(
                f"[[leave_out]] {field} is empty; name at least one value, or leave the line out"
            )
    return rule
