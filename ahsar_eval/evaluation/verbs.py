"""The whole job in one call: the verbs of the package, which the command line calls as well.

A network is what `load` or `wrap` gives. A set is a name (`ahsar-eval data list`), a specification
with a shift ("digits:fog:3"), arrays (x, y), tensors, or a data set of torch or tonic.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ahsar_eval.data import DataOptions, SampleSet, open_set, open_split, parse, split_of
from ahsar_eval.data.given import as_set
from ahsar_eval.data.split import limited, parse_framing
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.compare import SHOWN, check_metrics, comparison, matched
from ahsar_eval.evaluation.energy import energy_results
from ahsar_eval.evaluation.energy import plan as plan_energy
from ahsar_eval.evaluation.energy_request import requested as requested_energy
from ahsar_eval.evaluation.networks import LiveNetwork, load_networks, prepare_torch
from ahsar_eval.evaluation.ood import Plan, evaluation, plan, requested
from ahsar_eval.evaluation.raster import requested as requested_raster
from ahsar_eval.evaluation.raster import run as run_raster
from ahsar_eval.evaluation.requests import (
    EnergyRequest,
    NetworkOptions,
    RasterRequest,
    Request,
    SweepRequest,
    Thresholds,
)
from ahsar_eval.evaluation.sets import trained_on
from ahsar_eval.evaluation.sweep import plan as plan_sweep
from ahsar_eval.evaluation.sweep import requested as requested_sweep
from ahsar_eval.evaluation.sweep import run as run_sweep
from ahsar_eval.options import made
from ahsar_eval.recording import Recording
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results

Network = Runner | LiveNetwork
Networks = Network | Sequence[Network]


def load(
    path: str | Path, *, scale: float | None = None, name: str = "", **settings: Any
) -> Runner:
    """A checkpoint by path or shipped name, ready to be evaluated.

    `scale` puts v_th = scale × base in every layer in place of the replayed scales; `name` is what
    tables call the network (default: the file's name); `settings` are fields of `NetworkOptions`.
    Nothing in the file is executed. `threads` holds for all of torch. Raises kinds of `AhsarError`.
    """
    thresholds = made(Thresholds, scale=scale)
    (runner,) = load_networks([str(path)], made(NetworkOptions, **settings), thresholds)
    if name:
        runner.checkpoint = replace(runner.checkpoint, name=name)
    return runner


def wrap(
    module: nn.Module,
    *,
    timesteps: int,
    classes: int,
    input_shape: tuple[int, int, int] | None = None,
    mean: float | Sequence[float] = 0.0,
    std: float | Sequence[float] = 1.0,
    name: str = "",
    frames: str = "count",
    scale: float | None = None,
    **settings: Any,
) -> LiveNetwork:
    """A live SpikingJelly module, called with [T, N, C, H, W] (multi-step) or [N, C, H, W], as a
    network to evaluate; it is copied and never changed.

    `input_shape` (C, H, W) is the ID set's where it is not given. `mean` and `std` normalise images
    in [0, 1], one number or one per channel; `scale` puts v_th = scale × base in every layer.
    `settings` are fields of `NetworkOptions`. Raises kinds of `AhsarError`.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"wrap was given {type(module).__name__}; expected a torch.nn.Module (load reads files)"
        )
    options = made(NetworkOptions, **settings)
    prepare_torch(options.device, options.threads)
    return LiveNetwork(
        module,
        name or type(module).__name__,
        timesteps,
        classes,
        input_shape,
        tuple(map(float, np.atleast_1d(mean))),
        tuple(map(float, np.atleast_1d(std))),
        parse_framing(frames),
        options,
        made(Thresholds, scale=scale).scale,
    )


def ood(
    networks: Networks,
    id: Any = None,
    ood: Any = None,
    *,
    score: str | Sequence[str] = ("entropy",),
    baseline: str | None = None,
    options: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """How networks separate a set they know from sets they do not, as `ahsar-eval ood`.

    `id` is the set the networks know (default: the one they were trained on), `ood` one other set
    or a list of them; `settings` are fields of `Request` (by, tpr, replicates, seed, fit_name,
    id_space). Recordings are kept in the user's cache as the command keeps them. Raises kinds of
    `AhsarError`.
    """
    plans, request = _plans(networks, id, ood, score, options, settings)
    return evaluation(request, plans, baseline=baseline)


def compare(
    a: Networks,
    b: Networks,
    id: Any = None,
    ood: Any = None,
    *,
    metrics: str | Sequence[str] = SHOWN,
    score: str | Sequence[str] = ("entropy",),
    options: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """How networks `b` differ from networks `a` on the same samples, as `ahsar-eval compare`: one
    pair, or as many of each as there are seeds.
    """
    first, second = _listed(a), _listed(b)
    plans, request = _plans([*first, *second], id, ood, score, options, settings)
    ordered, said = matched(plans[: len(first)], plans[len(first) :])
    metrics = check_metrics([metrics] if isinstance(metrics, str) else list(metrics))
    return comparison(request, plans[: len(first)], ordered, metrics, said=said)


def energy(
    networks: Networks,
    data: Any = None,
    *,
    profile: Any = ("45nm-fp32",),
    shift: str | Sequence[str] = (),
    options: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """Every operation of an inference and its energy, as `ahsar-eval energy`.

    `data` is the set to run (default: the one the networks were trained on); `profile` and `shift`
    one name or several; `settings` are fields of `EnergyRequest` (scales, conventions, memory,
    choices, seed). `.layers` of the result is a frame with a row per layer. Raises kinds of
    `AhsarError`.
    """
    listed, known = _on(networks, data, options)
    asked = made(
        EnergyRequest,
        data_name=known,
        profiles=tuple(profile) if isinstance(profile, (tuple, list)) else (profile,),
        shifts=shift,
        data=options or DataOptions(),
        **settings,
    )
    request = requested_energy(asked)
    plans = [plan_energy(request, ready(one, known, options)) for one in listed]
    return energy_results(request, plans)


def raster(
    networks: Networks,
    data: Any = None,
    *,
    layer: int | str = 0,
    options: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """What one layer fires on one sample at several threshold scales, as `ahsar-eval raster`;
    `.save("figure4.pdf")` draws it.

    `settings` are fields of `RasterRequest` (scales, sample, seed). Raises kinds of `AhsarError`.
    """
    listed, known = _on(networks, data, options)
    asked = made(
        RasterRequest, data_name=known, layer=str(layer), data=options or DataOptions(), **settings
    )
    return run_raster(requested_raster(asked), [ready(one, known, options) for one in listed])


def sweep(
    networks: Networks,
    data: Any = None,
    ood: Any = (),
    *,
    options: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """What one factor on every threshold does to networks, as `ahsar-eval sweep`.

    `ood` is one set or a list of them; `settings` are fields of `SweepRequest` (scales, on,
    profile, replicates, seed). Raises kinds of `AhsarError`.
    """
    listed, known = _on(networks, data, options)
    named = tuple(given_set(one, options, f"ood{i or ''}") for i, one in enumerate(_sets(ood)))
    asked = made(
        SweepRequest, data_name=known, ood_names=named, data=options or DataOptions(), **settings
    )
    request = requested_sweep(asked)
    runners = [ready(one, known, options) for one in listed]
    return run_sweep(request, [plan_sweep(request, runner) for runner in runners])


def record(network: Network, data: Any, **settings: Any) -> Recording:
    """One counted pass of a network over a set: logits, spikes and operations of every layer, from
    the cache where the same pass was made before.

    `settings` are those of `Runner.recording` (trace, extras).
    """
    (one,), given = _on(network, data, None)
    runner = ready(one, given, None)
    if isinstance(given, SampleSet):
        return runner.recording(split_of(given, runner.view), **settings)
    return runner.recording(open_split(given, runner.view), **settings)


def given_set(data: Any, options: DataOptions | None = None, name: str = "data") -> str | SampleSet:
    """A name as it is; arrays, tensors and data sets of torch or tonic as a set, which the limit of
    `options` holds for, too."""
    if isinstance(data, str):
        return data
    held = data if isinstance(data, SampleSet) else as_set(data, name)
    return limited(held, None if options is None else options.limit)


def ready(network: Network, data: str | SampleSet, options: DataOptions | None) -> Runner:
    """`network` ready to run samples like those of `data`."""
    if isinstance(network, Runner):
        return network
    source = data if isinstance(data, SampleSet) else open_set(parse(data).name, options=options)
    return network.on(source)


def _listed(networks: Any) -> list[Network]:
    """One network or several. Raises `UsageError` for anything else, and for two of one name."""
    listed = list(networks) if isinstance(networks, (list, tuple)) else [networks]
    for one in listed:
        if not isinstance(one, (Runner, LiveNetwork)):
            raise UsageError(
                f"{one!r:.60} is no network; expected what ahsar_eval.load (of a checkpoint) or "
                "ahsar_eval.wrap (of a module) gives, or a list of these"
            )
    names = [
        (one.checkpoint.name if isinstance(one, Runner) else one.name, one.scale) for one in listed
    ]
    if not listed:
        raise UsageError("no network was given; expected at least one")
    if len(set(names)) < len(names):
        raise UsageError("two networks have one name; give each its own: load(path, name=…)")
    return listed


def _sets(given: Any) -> list[Any]:
    """One set or several: a list, or a tuple of names; a tuple of arrays is one set."""
    names = isinstance(given, tuple) and all(isinstance(one, (str, SampleSet)) for one in given)
    return list(given) if isinstance(given, list) or names else [given]


def _on(
    networks: Any, data: Any, options: DataOptions | None, called: str = "data"
) -> tuple[list[Network], str | SampleSet]:
    """The networks, and the one set they run on: what was given, or what they were trained on."""
    listed = _listed(networks)
    if options is not None:
        if not isinstance(options, DataOptions):
            raise UsageError(f"options is a {type(options).__name__}; expected DataOptions")
        options.check()
    if data is None:
        data = trained_on([one for one in listed if isinstance(one, Runner)], called)
    return listed, given_set(data, options, called)


def _plans(
    networks: Any,
    id: Any,
    ood: Any,
    score: str | Sequence[str],
    options: DataOptions | None,
    settings: dict[str, Any],
) -> tuple[list[Plan], Request]:
    listed, known = _on(networks, id, options, "id")
    if ood is None:
        raise UsageError("no OOD set was given; give one or a list of them as ood=")
    asked = made(
        Request,
        id_name=known,
        ood_names=tuple(
            given_set(one, options, f"ood{i or ''}") for i, one in enumerate(_sets(ood))
        ),
        scores=score,
        data=options or DataOptions(),
        **settings,
    )
    request = requested(asked)
    return [plan(request, ready(one, known, options)) for one in listed], request
