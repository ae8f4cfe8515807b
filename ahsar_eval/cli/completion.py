"""What completes options and arguments: names of sets, shifts, scores,
checkpoints, profiles and layers.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from ahsar_eval.data import EVENT_SHIFTS, SETS, SHIFTS
from ahsar_eval.data.catalogue import FILE_SETS
from ahsar_eval.files import shipped, table_beside

_PRICES = str(Path(__file__).parent.with_name("energy") / "profiles.py")
SCORES = (
    "entropy entropy-of-mean-softmax mean-entropy mutual-information msp max-logit energy gen "
    "msp-temperature odin knn mahalanobis relative-mahalanobis vim scp all"
).split()


def completed(kind: str, begun: str, context: click.Context) -> list[CompletionItem]:
    """What can stand where `begun` does: names of the `kind`, and files where those may."""
    names = [name for name in NAMES[kind](begun, context) if name.startswith(begun)]
    files = [CompletionItem(begun, type="file")] if kind in ("checkpoint", "profile") else []
    return [*map(CompletionItem, names), *files]


def _sets(begun: str, context: click.Context) -> Iterable[str]:
    """Sets; behind a colon the shifts of that one."""
    name, colon, _ = begun.partition(":")
    if not colon:
        return [*SETS, *(f"{kind}:" for kind in FILE_SETS), "near", "far"]
    if name == "tonic":  # its classes, which only tonic knows
        return []
    events = name in SETS and SETS[name].modality == "events"
    return [f"{name}:{shift}" for shift in (*(EVENT_SHIFTS if events else SHIFTS), "all")]


def _layers(begun: str, context: click.Context) -> Iterable[str]:
    """Spiking layers of the first checkpoint that is named; for these alone a network is built."""
    from ahsar_eval.homeostasis import read_thresholds
    from ahsar_eval.networks.checkpoints import default_pair, load_checkpoint
    from ahsar_eval.networks.checkpoints import network_of as built

    names = context.params.get("checkpoints") or default_pair(context.params.get("data_name"))
    return list(read_thresholds(built(load_checkpoint(names[0])).backbone))


NAMES: dict[str, Any] = {
    "set": _sets,
    "shift": lambda begun, context: [*SHIFTS, *EVENT_SHIFTS, "all"],
    "score": lambda begun, context: SCORES,
    "checkpoint": lambda begun, context: shipped("checkpoints", ".pt"),
    "profile": lambda begun, context: table_beside(_PRICES, "profiles.toml"),
    "layer": _layers,
}
