"""Which layers form which regulated unit, and the checks that make a bad selection an error."""

from collections.abc import Mapping, Sequence

from torch import nn

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.thresholds import named_neurons

Units = dict[str, tuple[str, ...]]


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
    if not neurons:
        raise HomeostasisError(
            f"{type(module).__name__} has no spiking layer (no submodule with a v_threshold); "
            "expected SpikingJelly LIF or IF nodes"
        )
    grouped: Units = (
        {name or "neuron": (name,) for name in neurons}
        if units is None
        else {unit: tuple(layers) for unit, layers in units.items()}
    )
    grouped_layers = [layer for layers in grouped.values() for layer in layers]
    for layer in [*grouped_layers, *(select or ())]:
        if layer not in neurons:
            raise HomeostasisError(
                f"no spiking layer {layer!r}; the network has: {', '.join(neurons)}"
            )
    for layer in grouped_layers:
        if grouped_layers.count(layer) > 1:
            raise HomeostasisError(
                f"layer {layer!r} is in more than one unit; name each layer once"
            )
    if select is not None:
        grouped = {
            unit: tuple(layer for layer in layers if layer in select)
            for unit, layers in grouped.items()
        }
        grouped = {unit: layers for unit, layers in grouped.items() if layers}
    if not grouped or not all(grouped.values()):
        raise HomeostasisError(
            "no spiking layer is left to regulate; select at least one, and no empty unit"
        )
    return grouped


def common_step_mode(module: nn.Module, layers: Sequence[str]) -> str:
    """The step mode all `layers` share, 's' or 'm'. Raises `HomeostasisError` when they differ or
    have none.
    """
    neurons = named_neurons(module)
    modes = {str(getattr(neurons[layer], "step_mode", None)) for layer in layers}
    if modes - {"s", "m"} or len(modes) != 1:
        raise HomeostasisError(
            f"the regulated layers have step modes {', '.join(sorted(modes))}; expected one of s "
            "or m for all (spikingjelly.activation_based.functional.set_step_mode sets it)"
        )
    return modes.pop()
