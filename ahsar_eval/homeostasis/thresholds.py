"""The spiking layers of a module: by name, grouped into regulated units, how their rate is sensed
(paper 4.1), and their thresholds. The only place of the package that writes `v_threshold`.

SpikingJelly keeps the threshold as a plain Python float outside `state_dict`; its kernels take
nothing else. A threshold is always set from base × factor, never multiplied in place, so writing
twice changes nothing.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError

Units = dict[str, tuple[str, ...]]
_ONE_SUM = 2**20  # values; up to so many, float32 counts exactly while they are 16 on average


def named_neurons(module: nn.Module) -> dict[str, nn.Module]:
    """Every submodule with a `v_threshold`, by its name in `module`, in definition order; a shared
    neuron appears once. One with an infinite threshold never fires: it is a read-out, and no unit.
    """
    return {
        name: child
        for name, child in module.named_modules()
        if hasattr(child, "v_threshold") and not is_readout(child)
    }


def is_readout(neuron: nn.Module) -> bool:
    """Whether a spiking layer never fires: one with an infinite threshold, whose potential is
    read.
    """
    threshold = getattr(neuron, "v_threshold", None)
    return isinstance(threshold, float) and math.isinf(threshold)


def group_units(
    module: nn.Module, units: Mapping[str, Sequence[str]] | None, select: Sequence[str] | None
) -> Units:
    """Unit → layer names, ordered by depth.

    `units` groups layers into blocks (method m of a deep network); without it every spiking layer
    is a unit of its own, in definition order. `select` keeps the named layers only (paper 5.1:
    "selected LIF layers"). Raises `HomeostasisError` for an unknown layer, a layer in two units, or
    nothing to regulate.
    """
    neurons = list(named_neurons(module))
    grouped: Units = (
        {name or "neuron": (name,) for name in neurons}
        if units is None
        else {unit: tuple(layers) for unit, layers in units.items()}
    )
    named = [layer for layers in grouped.values() for layer in layers]
    for layer in [*named, *(select or ())]:
        if layer not in neurons:
            raise _unknown(layer, neurons)
        if named.count(layer) > 1:
            raise HomeostasisError(
                f"layer {layer!r} is in more than one unit; name each layer once"
            )
    if select is not None:
        selected = {
            unit: tuple(layer for layer in layers if layer in select)
            for unit, layers in grouped.items()
        }
        grouped = {unit: layers for unit, layers in selected.items() if layers}
    if not grouped or not all(grouped.values()):
        raise HomeostasisError(
            f"{type(module).__name__} has no spiking layer to regulate (a submodule with a "
            "v_threshold, such as LIF or IF nodes), or an empty unit; select at least one"
        )
    return grouped


def _unknown(layer: str, neurons: Iterable[str]) -> HomeostasisError:
    return HomeostasisError(f"no spiking layer {layer!r}; the network has: {', '.join(neurons)}")


def read_thresholds(module: nn.Module) -> dict[str, float]:
    """Layer name → `threshold_of` it."""
    return {name: threshold_of(neuron) for name, neuron in named_neurons(module).items()}


def threshold_of(neuron: nn.Module) -> float:
    """The threshold of a spiking layer; of a tensor, such as a learnable one or one per channel,
    its mean.
    """
    value: Any = neuron.v_threshold
    return float(value.detach().double().mean()) if isinstance(value, Tensor) else float(value)


def check_scalable(module: nn.Module, layers: Iterable[str]) -> None:
    """Raise `HomeostasisError` for a threshold that no factor can be put on."""
    neurons = named_neurons(module)
    for name in layers:
        value = neurons[name].v_threshold
        if not isinstance(value, float):
            shape = f" of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
            raise HomeostasisError(
                f"layer {name!r} has a threshold of type {type(value).__name__}{shape}, and a "
                "factor can be put on a Python float alone; leave its threshold as it is "
                "(--no-replay)"
            )


def write_thresholds(
    module: nn.Module, base: Mapping[str, float], factors: Mapping[str, float]
) -> None:
    """Set `v_threshold` = base × factor for every layer of `factors`. Raises `HomeostasisError` for
    an unknown layer, and for a factor on a threshold that is no Python float.
    """
    neurons, own = named_neurons(module), read_thresholds(module)
    for name, factor in factors.items():
        if name not in neurons or name not in base:
            raise _unknown(name, neurons)
        if base[name] * float(factor) == own[name]:
            continue  # a tensor is kept as it is
        check_scalable(module, [name])
        set_threshold(neurons[name], base[name] * float(factor))


def set_threshold(neuron: nn.Module, value: float) -> None:
    """Set one neuron layer's threshold, a positive float."""
    neuron.v_threshold = value  # type: ignore[assignment]


# Sensing gives 0-dimensional tensors, so that no layer makes the host wait for the device; the
# controller reads them once per step.


def spike_count(spikes: Tensor) -> Tensor:
    """Number of spikes of a {0, 1} tensor with the batch axis first or second, as a float64 scalar.

    Exact while one sample's row holds fewer than 2²⁴ spikes: small tensors and the rows of large
    ones are summed in float32, where counts are exact whatever their order, and rows in float64. On
    a CPU this reads memory at full speed, many times faster than a float64 sum.
    """
    spikes = spikes.detach()
    counted = torch.promote_types(spikes.dtype, torch.float32)
    if spikes.numel() <= _ONE_SUM:
        return spikes.sum(dtype=counted).double()
    rows = tuple(
        range(min(2, spikes.dim() - 1), spikes.dim())
    )  # no flatten: it would copy what lies channels last
    return spikes.sum(rows, dtype=counted).sum(dtype=torch.float64)


def counted_spikes(neuron: nn.Module, output: Tensor) -> Tensor:
    """What `spike_count` has to add: the spikes a layer emitted, or its own sums of them over the
    call's steps, where whoever ran it left them for just this output (`networks.leave_sums`; the
    loops of `engine` and the rate pass do): a T-th of the memory to read.
    """
    counted = vars(neuron).get("counted")
    sums = None if counted is None else counted(output)
    return output if sums is None else sums


def surrogate_rate(mean_current: Tensor, threshold: float, neuron: nn.Module) -> Tensor:
    """Mean over samples and neurons of φ(x̄ − θ), φ the sigmoid of the layer's own surrogate; a
    float64 scalar.

    `mean_current` is the input current averaged over time, [N, …]. Raises `HomeostasisError` for a
    surrogate without `alpha`.
    """
    alpha = getattr(getattr(neuron, "surrogate_function", None), "alpha", None)
    if not isinstance(alpha, (int, float)):
        raise HomeostasisError(
            "surrogate sensing needs a surrogate function with a numeric alpha; "
            f"{type(neuron).__name__} has none; use sensing='spikes'"
        )
    return torch.sigmoid(alpha * (mean_current.detach() - threshold)).mean(dtype=torch.float64)
