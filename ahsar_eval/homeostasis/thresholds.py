"""Reading and writing `v_threshold`: the only place of the package that writes it.

SpikingJelly keeps the threshold as a plain Python float outside `state_dict`; its kernels take
nothing else. A threshold is always set from base × factor, never multiplied in place, so writing
twice changes nothing.
"""

from collections.abc import Mapping

from torch import nn

from ahsar_eval.errors import HomeostasisError


def named_neurons(module: nn.Module) -> dict[str, nn.Module]:
    """Every submodule with a `v_threshold`, by its name in `module`, in definition order; a shared
    neuron appears once.
    """
    return {name: child for name, child in module.named_modules() if hasattr(child, "v_threshold")}


def read_thresholds(module: nn.Module) -> dict[str, float]:
    """Layer name → threshold. Raises `HomeostasisError` for a threshold that is not a
    Python float."""
    thresholds: dict[str, float] = {}
    for name, neuron in named_neurons(module).items():
        value = neuron.v_threshold
        if not isinstance(value, float):
            raise HomeostasisError(
                f"layer {name!r} has a threshold of type {type(value).__name__}; expected a Python "
                "float (per-neuron thresholds cannot be scaled as one)"
            )
        thresholds[name] = value
    return thresholds


def write_thresholds(
    module: nn.Module, base: Mapping[str, float], factors: Mapping[str, float]
) -> None:
    """Set `v_threshold` = base × factor for every layer of `factors`. Raises `HomeostasisError` for
    an unknown layer.
    """
    neurons = named_neurons(module)
    for name, factor in factors.items():
        if name not in neurons or name not in base:
            raise HomeostasisError(
                f"no spiking layer {name!r} to write a threshold to; the network has: "
                f"{', '.join(neurons)}"
            )
        set_threshold(neurons[name], base[name] * float(factor))


def set_threshold(neuron: nn.Module, value: float) -> None:
    """Set one neuron layer's threshold, a positive float."""
    neuron.v_threshold = value  # type: ignore[assignment]
