"""The whole job in one call: the verbs of the package, which the command line calls as well.

A network is what `load` or `wrap` gives. A set is a name (`ahsar-eval data list`), a specification
with a shift ("digits:fog:3"), arrays (x, y), tensors, or a data set of torch or tonic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from torch import nn

from ahsar_eval.data import DataOptions, SampleSet, open_split
from ahsar_eval.data.given import as_set
from ahsar_eval.data.split import limited, parse_framing
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation import compare as comparisons
from ahsar_eval.evaluation import energy as energies
from ahsar_eval.evaluation import monitor as monitoring
from ahsar_eval.evaluation import ood as separation
from ahsar_eval.evaluation import raster as rasters
from ahsar_eval.evaluation import sweep as sweeps
from ahsar_eval.evaluation.calibration import calibrated, set_known
from ahsar_eval.evaluation.inputs import (
    LiveNetwork,
    Network,
    load_networks,
    planned,
    prepare_torch,
    ready,
)
from ahsar_eval.evaluation.requests import (
    EnergyRequest,
    MonitorRequest,
    NetworkOptions,
    RasterRequest,
    Request,
    SweepRequest,
)
from ahsar_eval.homeostasis.regulation import SetPoints
from ahsar_eval.options import made
from ahsar_eval.recording import Recording
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results

Networks = Network | Sequence[Network]


def load(path: str | Path, *, name: str = "", **settings: Any) -> Runner:
    """A checkpoint by path or shipped name, ready to be evaluated.

    `name` is what tables call the network (default: the file's name); `settings` are fields of
    `NetworkOptions`, such as `scale`, which puts v_th = scale × base in every layer in place of the
    replayed scales.
    Nothing in the file is executed. `threads` holds for all of torch. Raises kinds of `AhsarError`.
    """
    (runner,) = load_networks([str(path)], made(NetworkOptions, **settings))
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
    **settings: Any,
) -> LiveNetwork:
    """A live SpikingJelly module, called with [T, N, C, H, W] (multi-step) or [N, C, H, W], as a
    network to evaluate; it is copied and never changed.

    `input_shape` (C, H, W) is the ID set's where it is not given. `mean` and `std` normalise images
    in [0, 1], one number or one per channel. `settings` are fields of `NetworkOptions`,
    such as `scale`, which puts v_th = scale × base in every layer. Raises kinds of `AhsarError`.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"wrap was given {type(module).__name__}; expected a torch.nn.Module (load reads files)"
        )
    options = made(NetworkOptions, **settings)
    prepare_torch(options.device, options.threads)
    spec = {
        "timesteps": timesteps,
        "classes": classes,
        "input_shape": input_shape,
        "mean": tuple(map(float, np.atleast_1d(mean))),
        "std": tuple(map(float, np.atleast_1d(std))),
        "framing": parse_framing(frames),
    }
    return LiveNetwork(module, name or type(module).__name__, spec, options)


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
    id_space; `require` and `on`: `.passed` of the result says whether all is met). Recordings are
    kept in the user's cache as the command keeps them. Raises kinds of `AhsarError`.
    """
    not_of("ood", settings, "metrics")
    asked = {"scores": score, "baseline": baseline, **settings}
    return evaluated(separation, Request, networks, id, options, asked, ood, "id")


def not_of(verb: str, settings: Mapping[str, Any], *names: str) -> None:
    """`Request` serves two verbs, and has fields of each that are not the other's."""
    for name in names:
        if name in settings:
            raise UsageError(f"unknown setting {name!r}: {verb} has none; leave it out")


def compare(
    a: Networks,
    b: Networks | None = None,
    id: Any = None,
    ood: Any = None,
    *,
    metrics: str | Sequence[str] = (),
    score: str | Sequence[str] = ("entropy",),
    options: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """How networks `b` differ from networks `a` on the same samples, as `ahsar-eval compare`: one
    pair, or as many of each as there are seeds.

    With `adapt`, which names one way to adapt at test time, both adapt; without `b` what `a` gains
    by it. `settings` are fields of `Request`, as for `ood`. Raises kinds of `AhsarError`.
    """
    not_of("compare", settings, "baseline", "require", "on")
    first, second = _listed(a), [] if b is None else _listed(b)
    asked = {"scores": score, "metrics": metrics, **settings}
    comparisons.check_lengths(first, second, made(Request, **asked).adapt)
    both, pairs = [*first, *second], len(first)
    return evaluated(comparisons, Request, both, id, options, asked, ood, "id", pairs)


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
    choices, seed, require, on). `.layers` of the result is a frame with a row per layer. Raises
    kinds of `AhsarError`.
    """
    profiles = tuple(profile) if isinstance(profile, (tuple, list)) else (profile,)
    asked = {"profiles": profiles, "shifts": shift, **settings}
    return evaluated(energies, EnergyRequest, networks, data, options, asked)


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
    asked = {"layer": str(layer), **settings}
    return evaluated(rasters, RasterRequest, networks, data, options, asked)


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
    return evaluated(sweeps, SweepRequest, networks, data, options, settings, ood)


def monitor(
    networks: Networks,
    id: Any = None,
    ood: Any = None,
    *,
    batch: int | str | Sequence[int] = (8, 32),
    options: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """How well batches of shifted samples are told from those of a set that networks know, by the
    effort of a regulator, by rates and by entropy, as `ahsar-eval monitor`.

    `ood` is one set or a list of them, `batch` the number of samples of a batch, or several;
    `settings` are fields of `MonitorRequest` (draws, regulate, set_points, false_alarms,
    replicates, seed). Raises kinds of `AhsarError`.
    """
    asked = {"batch": batch, **settings}
    return evaluated(monitoring, MonitorRequest, networks, id, options, asked, ood, "id")


def record(network: Network, data: Any, **settings: Any) -> Recording:
    """One counted pass of a network over a set: logits, spikes and operations of every layer, from
    the cache where the same pass was made before.

    `settings` are those of `Runner.recording` (trace, extras).
    """
    (one,), given = _listed(network), given_set(data)
    runner = ready(one, given)
    return runner.recording(open_split(given, runner.view), **settings)


def calibrate(network: Network, data: Any = None, options: DataOptions | None = None) -> SetPoints:
    """The set points of a network, as `ahsar-eval calibrate`: rates of its spiking layers and
    channels on samples that it knows, which `adapt="layer"` and `adapt="channel"` bring back.

    `data` is a set that the network knows, labels or none (default: the one it was trained on, of
    which its hold-out is taken). What comes back is given as `set_points=` to `ood`, `compare`,
    `energy` and `sweep`, or saved (`.save(path)`). Raises kinds of `AhsarError`.
    """
    options = _checked(options)
    (one,) = _listed(network)
    given = None if data is None else given_set(data, options.limit)
    if isinstance(one, LiveNetwork):
        if given is None:
            raise UsageError(
                f"{one.name} does not say which set it was trained on; give one whose samples it "
                "knows: calibrate(net, data)"
            )
        one = ready(one, given, options)
    set_known(one, given)
    return calibrated(one, given, options)


def given_set(data: Any, limit: int | None = None, name: str = "data") -> str | SampleSet:
    """A name as it is; arrays, tensors and data sets of torch or tonic as a set, which the `limit`
    holds for, too."""
    if isinstance(data, str):
        return data
    held = data if isinstance(data, SampleSet) else as_set(data, name)
    return limited(held, limit)


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
        (one.checkpoint.name, one.scale)
        if isinstance(one, Runner)
        else (one.name, one.options.scale)
        for one in listed
    ]
    if not listed:
        raise UsageError("no network was given; expected at least one")
    if len(set(names)) < len(names):
        raise UsageError("two networks have one name; give each its own: load(path, name=…)")
    return listed


def _checked(options: DataOptions | None) -> DataOptions:
    """What is said about data, checked. Raises `UsageError`."""
    options = DataOptions() if options is None else options
    if not isinstance(options, DataOptions):
        raise UsageError(f"options is a {type(options).__name__}; expected DataOptions")
    options.check()
    return options


def _sets(given: Any) -> list[Any]:
    """One set or several: a list, or a tuple of names; a tuple of arrays is one set."""
    names = isinstance(given, tuple) and all(isinstance(one, (str, SampleSet)) for one in given)
    return list(given) if isinstance(given, list) or names else [given]


def evaluated(
    evaluation: ModuleType,
    request: type,
    networks: Any,
    data: Any,
    options: DataOptions | None,
    settings: dict[str, Any],
    ood: Any = (),
    called: str = "data",
    *more: Any,
) -> Any:
    """What `evaluation` finds of networks, asked by a `request` made of the settings, and `more`
    than that says.
    """
    options = _checked(options)
    if ood is None:
        raise UsageError("no OOD set was given; give one or a list of them as ood=")
    others = tuple(
        given_set(one, options.limit, f"ood{i or ''}") for i, one in enumerate(_sets(ood))
    )
    named: dict[str, Any] = {
        "data_name": "" if data is None else given_set(data, options.limit, called)
    }
    named |= {"ood_names": others} if others else {}
    asked: Any = made(request, **named, data=options, **settings)
    plans, asked = planned(evaluation, _listed(networks), asked)
    return evaluation.evaluation(asked, plans, *more)
