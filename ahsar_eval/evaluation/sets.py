"""What a reader must know of the sets that networks were run on."""

import warnings
from collections.abc import Iterable, Sequence
from typing import Any

from ahsar_eval.data import SampleSet, Split, open_split, split_of
from ahsar_eval.errors import AhsarWarning, DataError, UsageError
from ahsar_eval.recording.runner import Runner


def set_notes(splits: Iterable[Split]) -> list[str]:
    """How event recordings were divided and framed, what was left out, and shifts without
    effect."""
    notes = []
    for split in splits:
        source = split.source
        if split.modality == "events":
            notes.append(f"{source.name}: {source.note}; {split.adaptation}.")
        elif "removed" in source.note:
            notes.append(f"{source.name}: {source.note}.")
        elif "(--limit)" in source.note:
            notes.append(f"{source.name}: {source.note.rpartition('; ')[2]}.")
        if split.shift == "time_scale" and "equal" in split.adaptation:
            notes.append(
                f"{split.name} changes nothing: frames of equal count or time do not see how long "
                "a recording lasts."
            )
    return list(dict.fromkeys(notes))


def warn_if_trained_on(runner: Runner, split: Split) -> None:
    """Say so when a network is evaluated on samples it was trained on."""
    facts, name = runner.checkpoint.provenance, runner.checkpoint.name
    if facts.get("train_set_identity") in (split.source.identity, split.source.origin):
        warnings.warn(
            f"{split.name} holds the samples {name} was trained on; its numbers say nothing of "
            "unseen ones",
            AhsarWarning,
            stacklevel=2,
        )
    division = facts.get("division")
    family = str(runner.checkpoint.trained_on).removesuffix("-random")
    same_family = family == split.source.name.removesuffix("-random")
    if division and same_family and division != split.source.division:
        warnings.warn(
            f"{name} was trained on {family} divided {division}, and {split.name} is divided "
            "otherwise: it holds samples of that training; name the same set and --split-seed",
            AhsarWarning,
            stacklevel=2,
        )


def named_or_given(one: str | SampleSet, request: Any, runner: Runner) -> Split:
    """The one set that a `request` names, or gives, as `runner`'s network takes it."""
    if isinstance(one, SampleSet):
        return split_of(one, runner.view)
    return open_split(one, runner.view, seed=request.seed, options=request.data)


def check_named_once(names: Sequence[Any]) -> None:
    """That no OOD set stands twice among `names`; sets in memory may. Raises `UsageError`."""
    named = [name for name in names if isinstance(name, str)]
    for name in named:
        if named.count(name) > 1:
            raise UsageError(f"the OOD set {name} was named twice; name it once")


def check_classes(runner: Runner, split: Split, name: str, kind: str) -> None:
    """That a set called `name` has as many classes as the network, where its classes are known.
    Raises `DataError`.
    """
    classes, own = runner.checkpoint.spec.classes, split.source.classes
    if own and len(own) != classes:
        raise DataError(
            f"{runner.checkpoint.name} tells {classes} classes apart and {name} has {len(own)}; "
            f"choose the {kind} it was trained on"
        )


def trained_on(runners: Sequence[Runner], option: str = "--data") -> str:
    """The one set that all checkpoints were trained on. Raises `UsageError` where there is none."""
    known = {runner.checkpoint.trained_on for runner in runners}
    if len(known) != 1 or None in known:
        raise UsageError(
            f"the checkpoints do not say one set they were trained on; name it with {option}"
        )
    return str(known.pop())
