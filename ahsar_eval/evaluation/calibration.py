"""Set points: the rates that homeostasis at test time goes for, measured on data that the network
knows and that nothing is evaluated on.
"""

import contextlib
from collections.abc import Iterable
from typing import Any

from ahsar_eval.data import DataOptions, SampleSet, open_set, parse, split_of, training_sets_of
from ahsar_eval.data.catalogue import roles_of
from ahsar_eval.data.split import limited
from ahsar_eval.errors import DataError, UsageError
from ahsar_eval.homeostasis.regulation import SetPoints
from ahsar_eval.recording.adaptation import measure_set_points
from ahsar_eval.recording.runner import Runner


def calibrated(
    runner: Runner, on: str | SampleSet | None = None, options: DataOptions | None = None
) -> SetPoints:
    """Set points of `runner`'s network: on what its training held out of the set `on` (default: the
    one it was trained on), where the checkpoint says which samples those were; else on the training
    split of that set, or on all of a set that is not divided. No label is needed. Raises
    `UsageError` where no set is known or thresholds are not the network's own, and `DataError`.
    """
    name, options = set_known(runner, on), options or DataOptions()
    source = name if isinstance(name, SampleSet) else _known_samples(runner, name, options)
    split = split_of(limited(source, options.limit), runner.view, options=options)
    return measure_set_points(
        runner.network,
        split,
        network=runner.checkpoint.identity,
        batch_size=runner.batch_size,
        device=runner.device,
        input_kinds=runner.input_kinds,
        engine=runner.engine,
    )


def set_known(runner: Runner, on: str | SampleSet | None) -> str | SampleSet:
    """The set that `calibrated` takes samples of. Raises `UsageError`."""
    if runner.scale is not None:
        raise UsageError(
            f"set points are the rates at a network's own thresholds, and {runner.checkpoint.name} "
            f"runs at {runner.scale:g} times its base ones; leave the scale out"
        )
    name = on if on is not None else runner.checkpoint.trained_on
    if name is None:
        raise UsageError(
            f"{runner.checkpoint.name} does not say which set it was trained on; name one whose "
            "samples it knows with --on (in Python the second argument)"
        )
    if isinstance(name, str) and parse(name).variants != ((None, 0),):
        raise UsageError(
            f"{name} names a shift; set points are the rates on a set as it is, so name that"
        )
    return name


def _known_samples(runner: Runner, name: str, options: DataOptions) -> SampleSet:
    """The hold-out of the network's training, the training split, or all samples of a set."""
    if "train" not in roles_of(name):
        return open_set(name, options=options)
    facts = runner.checkpoint.provenance
    known = facts.get("validation_identity")
    if known is not None:
        with contextlib.suppress(DataError):  # a set that cannot be divided so is another one
            _, held_out = training_sets_of(facts, name, options)
            if split_of(held_out, runner.view, options=options).identity == known:
                return held_out
    return open_set(name, "train", options)


def measured_on(points: SetPoints) -> str:
    """On which samples set points were measured."""
    data = points.data
    role = f" ({data['role']})" if data.get("role") else ""
    return f"{data['n']:,} samples of {data['name']}{role}"


def rows_of(points: SetPoints) -> Iterable[dict[str, Any]]:
    """A row per layer: number of channels and their axis, rate of the layer, its standard deviation
    over samples, lowest and highest rate of a channel.
    """
    for name, one in points.layers.items():
        yield {
            "layer": name,
            "channels": len(one.rates),
            "axis": one.axis,
            "rate": one.layer_rate,
            "spread": one.layer_spread,
            "lowest": float(one.rates.min()),
            "highest": float(one.rates.max()),
        }
