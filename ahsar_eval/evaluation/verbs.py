"""The whole job in one call: the verbs of the package, which the command line calls as well.

A network is what `load` or `wrap` gives. A set is a name (`ahsar-eval data list`), a specification
with a shift ("digits:fog:3"), arrays (x, y), tensors, or a data set of torch or tonic.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ahsar_eval.data import DataOptions, SampleSet, open_set, open_split, parse, split_of
from ahsar_eval.data.given import as_set
from ahsar_eval.errors import UsageError
from ahsar_eval.evaluation.compare import SHOWN, check_metrics, comparison, matched
from ahsar_eval.evaluation.energy import energy_results
from ahsar_eval.evaluation.energy import plan as plan_energy
from ahsar_eval.evaluation.energy_request import requested as requested_energy
from ahsar_eval.evaluation.networks import LiveNetwork, load_networks
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
from ahsar_eval.recording import Recording
from ahsar_eval.recording.runner import Runner
from ahsar_eval.results.results import Results

Network = Runner | LiveNetwork
Networks = Network | Sequence[Network]


def load(name: str | Path, *, scale: float | None = None, **options: Any) -> Runner:
    """A checkpoint by path or shipped name, ready to be evaluated.

    `scale` puts v_th = scale × base in every layer in place of the replayed scales; `options` are
    the fields of `NetworkOptions`. Nothing in the file is executed. Raises kinds of `AhsarError`.
    """
    (runner,) = load_networks([str(name)], NetworkOptions(**options), Thresholds(scale))
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
    **options: Any,
) -> LiveNetwork:
    """A live SpikingJelly module, called with [T, N, C, H, W] (multi-step) or [N, C, H, W], as a
    network to evaluate; it is copied and never changed.

    `input_shape` (C, H, W) is the ID set's where it is not given. `mean` and `std` normalise images
    in [0, 1], one number or one per channel. `options` are fields of `NetworkOptions`. Raises
    `UsageError` for what is no module.
    """
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"wrap was given {type(module).__name__}; expected a torch.nn.Module (load reads files)"
        )
    return LiveNetwork(
        module,
        name or type(module).__name__,
        timesteps,
        classes,
        input_shape,
        tuple(mean) if isinstance(mean, Sequence) else (float(mean),),
        tuple(std) if isinstance(std, Sequence) else (float(std),),
        frames,
        NetworkOptions(**options),
    )


def ood(
    networks: Networks,
    id: Any = None,
    ood: Any = None,
    *,
    score: str | Sequence[str] = ("entropy",),
    baseline: str | None = None,
    data: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """How networks separate a set they know from sets they do not, as `ahsar-eval ood`.

    `id` is the set the networks know (default: the one they were trained on), `ood` one other set
    or a list of them; `settings` are fields of `Request` (by, tpr, replicates, seed, fit_name,
    id_space). Recordings are kept in the user's cache as the command keeps them. Raises kinds of
    `AhsarError`.
    """
    plans, request = _plans(networks, id, ood, score, data, settings)
    return evaluation(request, plans, baseline=baseline)


def compare(
    a: Networks,
    b: Networks,
    id: Any = None,
    ood: Any = (),
    *,
    metrics: Sequence[str] = SHOWN,
    score: str | Sequence[str] = ("entropy",),
    data: DataOptions | None = None,
    **settings: Any,
) -> Results:
    """What networks `b` have over networks `a` on the same samples, as `ahsar-eval compare`: one
    pair, or as many of each as there are seeds.
    """
    first, second = _listed(a), _listed(b)
    plans, request = _plans([*first, *second], id, ood, score, data, settings)
    ordered, said = matched(plans[: len(first)], plans[len(first) :])
    metrics = check_metrics(list(metrics))
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
    request = requested_energy(
        EnergyRequest(
            known,
            tuple(profile) if isinstance(profile, (tuple, list)) else (profile,),
            (shift,) if isinstance(shift, str) else tuple(shift),
            data=options or DataOptions(),
            **settings,
        )
    )
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
    asked = RasterRequest(known, str(layer), data=options or DataOptions(), **settings)
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
    others = ood if isinstance(ood, (list, tuple)) else [ood]
    named = tuple(given_set(one, options, f"ood{i or ''}") for i, one in enumerate(others))
    asked = SweepRequest(known, named, data=options or DataOptions(), **settings)
    request = requested_sweep(asked)
    runners = [ready(one, known, options) for one in listed]
    return run_sweep(request, [plan_sweep(request, runner) for runner in runners])


def record(network: Network, data: Any, **settings: Any) -> Recording:
    """One counted pass of a network over a set: logits, spikes and operations of every layer, from
    the cache where the same pass was made before.

    `settings` are those of `Runner.recording` (trace, extras).
    """
    given = given_set(data)
    runner = ready(network, given, None)
    if isinstance(given, SampleSet):
        return runner.recording(split_of(given, runner.view), **settings)
    return runner.recording(open_split(given, runner.view), **settings)


def given_set(data: Any, options: DataOptions | None = None, name: str = "data") -> str | SampleSet:
    """A name as it is; arrays, tensors and data sets of torch or tonic as a set."""
    if isinstance(data, (str, SampleSet)):
        return data
    return as_set(data, name)


def ready(network: Network, data: str | SampleSet, options: DataOptions | None) -> Runner:
    """`network` ready to run samples like those of `data`."""
    if isinstance(network, Runner):
        return network
    source = data if isinstance(data, SampleSet) else open_set(parse(data).name, options=options)
    return network.on(source)


def _listed(networks: Networks) -> list[Network]:
    return [networks] if isinstance(networks, (Runner, LiveNetwork)) else list(networks)


def _on(
    networks: Networks, data: Any, options: DataOptions | None
) -> tuple[list[Network], str | SampleSet]:
    """The networks, and the one set they run on: what was given, or what they were trained on."""
    listed = _listed(networks)
    if options is not None:
        options.check()
    if data is None:
        data = trained_on([one for one in listed if isinstance(one, Runner)], "data")
    return listed, given_set(data, options)


def _plans(
    networks: Networks,
    id: Any,
    ood: Any,
    score: str | Sequence[str],
    data: DataOptions | None,
    settings: dict[str, Any],
) -> tuple[list[Plan], Request]:
    listed = _listed(networks)
    if data is not None:
        data.check()
    if id is None:
        id = trained_on([one for one in listed if isinstance(one, Runner)], "id")
    others = ood if isinstance(ood, list) else [ood]
    known = given_set(id, data, "id")
    request = requested(
        Request(
            known,
            tuple(given_set(one, data, f"ood{i or ''}") for i, one in enumerate(others)),
            scores=(score,) if isinstance(score, str) else tuple(score),
            data=data or DataOptions(),
            **settings,
        )
    )
    return [plan(request, ready(one, known, data)) for one in listed], request
