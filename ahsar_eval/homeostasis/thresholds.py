"""The spiking layers of a module: by name, grouped into regulated units, how their rate is sensed
(paper 4.1), and their thresholds. The only place of the package that writes `v_threshold`.

SpikingJelly keeps the threshold as a plain Python float outside `state_dict`; a layer may have a
tensor in its place, one number per channel. A threshold is always set from base × factor, tensors
as a whole, never multiplied in place, so writing twice changes nothing.
"""

import copy
import math
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError

Units = dict[str, tuple[str, ...]]
Threshold = float | list[Any]  # plain numbers: one, or lists of them in the shape of a tensor
_ONE_SUM = 2**20  # values; up to so many, float32 counts exactly while they are 16 on average


def named_neurons(module: nn.Module) -> dict[str, nn.Module]:
    """Every submodule with a `v_threshold`, by its name in `module`, in definition order; a shared
    neuron appears once. One with an infinite threshold never fires: it is a read-out, and no unit.
    """
    return {
        name: child
        for name, child in module.named_modules()
        if getattr(child, "v_threshold", None) is not None and not is_readout(child)
    }


def is_readout(neuron: nn.Module) -> bool:
    """Whether a spiking layer never fires: one whose threshold, or each of them, is infinite, and
    whose potential is read.
    """
    threshold = getattr(neuron, "v_threshold", None)
    if isinstance(threshold, Tensor):
        return bool(threshold.isposinf().all())
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


def plain_thresholds(module: nn.Module) -> dict[str, Threshold]:
    """Layer name → its threshold in plain numbers; of a tensor lists in its shape, every value
    exact.
    """
    return {name: plain(neuron.v_threshold) for name, neuron in named_neurons(module).items()}


def plain(value: Any) -> Threshold:
    """A layer's `v_threshold` as `plain_thresholds` has it."""
    numbers: Threshold = value.detach().double().tolist() if isinstance(value, Tensor) else value
    return numbers if isinstance(numbers, list) else float(numbers)


def check_scalable(module: nn.Module, layers: Iterable[str]) -> None:
    """Raise `HomeostasisError` for a threshold that no factor can be put on: one that is learned or
    computed, or is neither a number nor a tensor.
    """
    neurons = named_neurons(module)
    for name in layers:
        neuron, reason = neurons[name], ""
        value = neuron.v_threshold
        computed = getattr(type(neuron), "v_threshold", None)
        if isinstance(computed, property):
            reason = "is computed by a property"
        elif isinstance(value, nn.Parameter) or (isinstance(value, Tensor) and value.requires_grad):
            reason = "is a parameter, which an optimizer may change"
        elif not isinstance(value, (Real, Tensor)):
            reason = f"is a {type(value).__name__}"
        if reason:
            raise HomeostasisError(
                f"the threshold of layer {name!r} {reason}, and a factor can be put on a number or "
                "a constant tensor alone; leave it as it is (no --scale, --no-replay; in a "
                "training select=… names other layers), or make it a buffer"
            )


def check_any(layers: Collection[str], factor: float) -> None:
    """Raise `HomeostasisError` where there is no layer with a threshold for a factor."""
    if not layers and factor != 1:
        raise HomeostasisError(
            f"the network has no layer with a v_threshold that the factor {factor:g} could be put "
            "on; give 1, or name its neurons' threshold so"
        )


def write_thresholds(
    module: nn.Module, base: Mapping[str, Threshold], factors: Mapping[str, float]
) -> None:
    """Set `v_threshold` = base × factor for every layer of `factors`. Raises `HomeostasisError` for
    an unknown layer, a base of another shape, and a factor on a threshold that takes none.
    """
    neurons = named_neurons(module)
    for name, factor in factors.items():
        if name not in neurons or name not in base:
            raise _unknown(name, neurons)
        check_fits(name, neurons[name], base[name])
        own: Any = neurons[name].v_threshold
        if bool(torch.as_tensor(own == scaled(own, base[name], float(factor))).all()):
            continue  # one that takes no factor is kept as it is
        check_scalable(module, [name])
        set_threshold(neurons[name], base[name], float(factor))


def check_fits(layer: str, neuron: nn.Module, base: Threshold) -> None:
    """Raise `HomeostasisError` where a base threshold has another shape than the layer's own."""
    given, own = np.shape(base), np.shape(plain(neuron.v_threshold))
    if given != own:
        raise HomeostasisError(
            f"the base threshold of layer {layer!r} has shape {given} and the network's own {own}; "
            "is it another network's?"
        )


def scaled(own: Any, base: Threshold | Tensor, factor: float) -> Any:
    """base × factor, of the kind that a layer's `own` threshold is: a number, or a tensor on the
    same device.
    """
    if not isinstance(own, Tensor):
        return base * factor  # type: ignore[operator]
    kind = own.dtype if own.is_floating_point() else torch.get_default_dtype()
    return (torch.as_tensor(base, dtype=torch.float64) * factor).to(own.device, kind)


def set_threshold(neuron: nn.Module, base: Threshold | Tensor, factor: float = 1.0) -> None:
    """Set one neuron layer's threshold to base × factor."""
    neuron.v_threshold = scaled(neuron.v_threshold, base, factor)


def restore_threshold(neuron: nn.Module, base: Threshold, own: Any) -> None:
    """Set one neuron layer's threshold to its base, as the very number or tensor `own` that it was
    before it was scaled, where that has the base's value.
    """
    now: Any = neuron.v_threshold
    if plain(own) != base:
        set_threshold(neuron, base)
    elif isinstance(own, Tensor):  # wherever the network has been moved to since
        kind = now.dtype if own.is_floating_point() else own.dtype
        neuron.v_threshold = own.to(now.device, kind)
    else:
        neuron.v_threshold = own


def copied_at(neuron: nn.Module, threshold: Any) -> nn.Module:
    """A copy of a neuron layer at another threshold, a number or tensor, whatever its own is,
    without the hooks on it, which may hold all of a network.
    """
    hooks = (neuron._forward_hooks, neuron._forward_pre_hooks)
    made = copy.deepcopy(neuron, {id(held): OrderedDict() for held in hooks})
    if "v_threshold" in made._parameters or "v_threshold" in made._buffers:
        del made.v_threshold
    made.v_threshold = threshold
    return made


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


def surrogate_rate(mean_current: Tensor, threshold: float | Tensor, neuron: nn.Module) -> Tensor:
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
