"""A regulator on a running network: hooks that divide the current which enters a spiking layer, or
write its threshold, and count what each of its channels fires.

For neurons that start at rest and reset by subtraction or to 0, a threshold times s gives the
spikes of a current divided by s: so each channel can have a threshold of its own, whatever stands
before the neurons, and whatever SpikingJelly takes for `v_threshold`. Exact in floating point for
powers of two. Every regulated layer is tried for it (`check_divisible`).

Nothing is written but `v_threshold` in the mode "layer", and `detach` puts that back.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from ahsar_eval.errors import HomeostasisError
from ahsar_eval.homeostasis.regulation import CHANNEL, LAYER, Regulation, SetPoint, set_point_of
from ahsar_eval.homeostasis.thresholds import (
    check_scalable,
    copied_at,
    counted_spikes,
    named_neurons,
    plain,
    restore_threshold,
    set_threshold,
)

_ROWS_EXACT = 2**24  # ones that float32 sums exactly
# Steps that layers are tried for, and the sizes of currents, for none of which spikes may differ.
_TRIED_STEPS, _TRIED = 12, (1e-3, 0.1, 0.5, 1.0, 2.0, 10.0, 1e3)
_TRIED_NEURONS = 64  # of each size at least, however small the layer is


@dataclass(frozen=True)
class Channels:
    """Where the channels of a spiking layer lie: along `axis` of its neurons' `shape`, which ends
    every tensor of the layer. Before it stand time and samples, in this order unless `batch_first`.
    """

    shape: tuple[int, ...]
    axis: int = 0
    batch_first: bool = False

    @property
    def count(self) -> int:
        """Number of channels."""
        return self.shape[self.axis]

    def spread(self, factors: Tensor) -> Tensor:
        """`factors` [C] or [1] in a shape that broadcasts over the layer's tensors."""
        shape = [1] * len(self.shape)
        shape[self.axis] = len(factors)
        return factors.reshape(shape)

    def counts(self, x: Tensor, samples: int) -> tuple[Tensor, int]:
        """Sums of `x` over all axes but samples and channels, [N, C] float64, and how many values
        each of them is of.
        """
        leading = (samples, -1) if self.batch_first else (-1, samples)
        rows = x.reshape(*leading, *self.shape)
        rows = rows if self.batch_first else rows.transpose(0, 1)
        rows = rows.movedim(2 + self.axis, 1)
        places = rows[0, 0].numel()
        axes = tuple(range(2, rows.dim()))
        exact = torch.promote_types(rows.dtype, torch.float32)
        if places > _ROWS_EXACT or exact.itemsize < 4:
            exact = torch.float64
        return rows.sum(axes, dtype=exact).double(), places


def features_of(module: nn.Module) -> int | None:
    """Channels, or features, of what a layer gives, where it says so."""
    shape = getattr(module, "normalized_shape", None)
    said = shape[-1] if isinstance(shape, tuple) and shape else None
    for name in ("out_channels", "out_features", "num_features"):
        said = getattr(module, name, said)
    return said if isinstance(said, int) else None


def channel_axis(shape: tuple[int, ...], behind: nn.Module | None) -> int:
    """The axis of neurons of this `shape` along which the channels of the layer lie that they stand
    `behind`: the first of their number, the last one behind a layer whose features are the last
    axis; the first of all where none is.
    """
    channels = None if behind is None else features_of(behind)
    fit = [axis for axis, length in enumerate(shape) if length == channels]
    if not fit:
        return 0
    return fit[-1] if isinstance(behind, (nn.Linear, nn.LayerNorm)) else fit[0]


def check_divisible(name: str, neuron: nn.Module, shape: tuple[int, ...]) -> None:
    """Raise `HomeostasisError`, naming the layer, where a current divided by 2 does not give the
    spikes of twice the threshold: a reset to other than 0, a leak to other than 0, a least
    potential, more than one threshold, an adaptation current.

    It is tried with currents of many sizes, on copies of the neurons, whose tensors of one sample
    and step have this shape. Where they keep a potential `v`, that is half as large, to the bit: it
    shows what no spike of so few steps does.
    """
    kind = type(neuron).__name__
    if getattr(neuron, "v_threshold", None) is None:
        raise HomeostasisError(
            f"layer {name!r} ({kind}) has no v_threshold, so that dividing its current cannot be "
            "held against one; --adapt channel does not cover it"
        )
    reset = getattr(neuron, "v_reset", None)
    value: Any = neuron.v_threshold
    held = [value, *neuron.parameters(), *neuron.buffers()]
    if all(torch.as_tensor(one).numel() == 1 for one in held):
        shape = (_TRIED_NEURONS,)  # all of its neurons are alike
    own = value.detach().clone() if isinstance(value, Tensor) else float(value)
    x = _currents(neuron, own, shape)
    pairs = [(own * 2, x, own, x / 2), (own, x * 2, own * 0.5, x)]
    try:
        with torch.no_grad():
            same = all(
                _alike(_tried(neuron, a, at), _tried(neuron, b, bt)) for a, at, b, bt in pairs
            )
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise HomeostasisError(
            f"layer {name!r} ({kind}) cannot be tried at another threshold ({reason}); --adapt "
            "channel does not cover it"
        ) from error
    if not same:
        why = f"it resets to {reset:g}" if isinstance(reset, float) and reset else "its equation"
        raise HomeostasisError(
            f"a current divided by 2 does not give layer {name!r} ({kind}) the spikes of twice its "
            f"threshold ({why}); --adapt channel takes neurons that start at rest, leak to 0 and "
            "reset by subtraction or to 0; --adapt layer takes any threshold"
        )


def _currents(neuron: nn.Module, threshold: Any, shape: tuple[int, ...]) -> Tensor:
    """Currents [T, N, *shape] of sizes around the threshold that a layer is tried with, of its type
    and on its device; single precision where that is half, which does not halve small numbers
    exactly.
    """
    weights = [w for w in (*neuron.parameters(), *neuron.buffers()) if w.is_floating_point()]
    like = weights[0] if weights else torch.empty(0)
    largest = float(torch.as_tensor(threshold).abs().max())
    unit = largest if 0 < largest < math.inf else 1.0
    each = max(2, -(-_TRIED_NEURONS // math.prod(shape)))
    sizes = torch.tensor(_TRIED).repeat_interleave(each) * unit
    draw = torch.Generator().manual_seed(0)
    x = torch.randn((_TRIED_STEPS, len(sizes), *shape), generator=draw) + 0.3
    x *= sizes.reshape(1, -1, *[1] * len(shape))
    return x.to(like.device, torch.promote_types(like.dtype, torch.float32))


def _tried(neuron: nn.Module, threshold: Any, current: Tensor) -> tuple[Tensor, Any]:
    """What a copy of the neurons emits at a threshold, [T, N, …], and its potentials at the end."""
    tried: Any = copied_at(neuron, threshold).eval().to(current.dtype)
    if hasattr(tried, "reset"):
        tried.reset()
    if getattr(tried, "step_mode", "s") == "m":
        spikes = emitted(tried(current))
    else:
        spikes = torch.stack([emitted(tried(step)).clone() for step in current])
    return spikes, getattr(tried, "v", None)


def _alike(one: tuple[Tensor, Any], half: tuple[Tensor, Any]) -> bool:
    """Whether two trials have the same spikes, and the first twice the potentials of the second."""
    v, v_half = one[1], half[1]
    kept = isinstance(v, Tensor) and isinstance(v_half, Tensor)
    return torch.equal(one[0], half[0]) and (not kept or torch.equal(v, v_half * 2))


def emitted(out: Any) -> Tensor:
    """What a layer of neurons gives: the first, where its state comes with it."""
    found: Tensor = out[0] if isinstance(out, tuple) else out
    return found


class Regulator:
    """Hooks on the spiking layers of a module, which regulate and count while they are on.

    mode: "layer" writes one threshold per layer, "channel" divides the current of each channel,
        "none" counts alone.
    layers: name → `Channels` of the layers to regulate.
    write: sets a layer's threshold to its own times a factor, where the caller has a say in it.
    samples: how many samples a tensor of a layer holds, where its step mode does not say so.

    Raises `HomeostasisError` for a layer that the mode does not cover.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Mapping[str, Channels],
        mode: str,
        *,
        write: Callable[[str, float], None] | None = None,
        samples: Callable[[str, Tensor], int] | None = None,
    ) -> None:
        neurons = named_neurons(module)
        self.mode, self.layers = mode, dict(layers)
        self._neurons = {name: module.get_submodule(name) for name in layers}
        if mode == LAYER:
            check_scalable(module, [name for name in layers if name in neurons])
        if mode == CHANNEL:
            for name, channels in layers.items():
                check_divisible(name, self._neurons[name], channels.shape)
        self._own = {name: getattr(one, "v_threshold", None) for name, one in self._neurons.items()}
        self._base = {name: None if v is None else plain(v) for name, v in self._own.items()}
        self._write_own, self._samples = write, samples
        self._divisors: dict[str, Tensor] = {}
        self._counts: dict[str, Tensor] = {}
        self._places: dict[str, int] = {}
        self.senses = False
        self._handles = list(self._hooks())

    def _hooks(self) -> Iterable[RemovableHandle]:
        for name, neuron in self._neurons.items():
            if self.mode == CHANNEL:
                yield neuron.register_forward_pre_hook(partial(self._divide, name), prepend=True)
            yield neuron.register_forward_hook(partial(self._sense, name))

    def _divide(self, name: str, neuron: nn.Module, inputs: tuple[Any, ...]) -> Any:
        divisor = self._divisors.get(name)
        if divisor is None:
            return None
        if not inputs:
            raise HomeostasisError(
                f"layer {name!r} is called with keyword arguments alone; call it with its input as "
                "the first argument"
            )
        with torch._C.DisableTorchFunction():  # no operation of the network
            x = inputs[0]
            by = divisor.to(x.device, x.dtype)
            # What is the same at every step is divided once.
            static = x.dim() > by.dim() and x.stride(0) == 0
            divided = (x[:1] / by).expand_as(x) if static else x / by
        return (divided, *inputs[1:])

    def _sense(self, name: str, neuron: nn.Module, inputs: Any, out: Any) -> None:
        if not self.senses:
            return
        with torch._C.DisableTorchFunction(), torch.no_grad():
            channels, spikes = self.layers[name], emitted(out)
            held = counted_spikes(neuron, spikes)  # all of them, or their sums over steps
            counts, places = channels.counts(held.detach(), self._number(name, spikes))
            places *= spikes.numel() // max(1, held.numel())
            if name in self._counts:
                counts, places = self._counts[name] + counts, self._places[name] + places
            self._counts[name], self._places[name] = counts, places

    def _number(self, name: str, spikes: Tensor) -> int:
        if self._samples is not None:
            return self._samples(name, spikes)
        multi = getattr(self._neurons[name], "step_mode", "s") == "m"
        return spikes.shape[1] if multi else spikes.shape[0]

    def write(self, regulation: Regulation) -> None:
        """Put the factors of a state on the network. Raises `HomeostasisError` where it is another
        network's.
        """
        for name, factors in regulation.factors.items():
            held = self.layers[name].count if name in self.layers else 0
            if not held or len(factors) != (1 if self.mode == LAYER else held):
                raise HomeostasisError(
                    f"the state of a regulator has {len(factors)} numbers for layer {name!r}, "
                    "which this network has not; is it another network's?"
                )
            if self.mode == CHANNEL:
                self._divisors.pop(name, None)
                if (factors != 1).any():
                    self._divisors[name] = self.layers[name].spread(torch.from_numpy(factors))
            elif self._write_own is not None:
                self._write_own(name, float(factors[0]))
            else:
                set_threshold(self._neurons[name], self._base[name], float(factors[0]))  # type: ignore[arg-type]

    def taken(self, samples: int | None = None) -> dict[str, tuple[np.ndarray[Any, Any], int]]:
        """Layer → spikes [N, C] of the batch that was counted, of its first `samples`, and of how
        many neurons and steps each number is; the counters start anew.
        """
        found = {
            name: (counts[:samples].cpu().numpy(), self._places[name])
            for name, counts in self._counts.items()
        }
        self._counts, self._places = {}, {}
        return found

    def detach(self) -> None:
        """Remove every hook and put the thresholds back: the module is as it was before."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        if self.mode == LAYER and self._write_own is None:
            for name, neuron in self._neurons.items():
                restore_threshold(neuron, self._base[name], self._own[name])  # type: ignore[arg-type]

    def __enter__(self) -> "Regulator":
        return self

    def __exit__(self, *_: object) -> None:
        self.detach()


def samples_in(batches: Iterable[Mapping[str, tuple[Any, int]]]) -> int:
    """How many samples batches of counts are of."""
    return sum(len(next(iter(batch.values()))[0]) for batch in batches)


def rates_of(batches: Iterable[Mapping[str, tuple[Any, int]]]) -> dict[str, Any]:
    """Layer → rate [C] of each channel over all samples of these batches of counts."""
    spikes: dict[str, Any] = {}
    held: dict[str, int] = {}
    for batch in batches:
        for name, (counts, places) in batch.items():
            spikes[name] = spikes.get(name, 0.0) + counts.sum(axis=0)
            held[name] = held.get(name, 0) + places * len(counts)
    return {name: total / held[name] for name, total in spikes.items()}


def set_points_from(
    batches: Iterable[Mapping[str, tuple[Any, int]]], layers: Mapping[str, Channels]
) -> dict[str, SetPoint]:
    """Layer → its set point by these batches of counts."""
    counts: dict[str, list[Any]] = {}
    places: dict[str, int] = {}
    for batch in batches:
        for name, (some, held) in batch.items():
            counts.setdefault(name, []).append(some)
            places[name] = held
    return {
        name: set_point_of(
            np.concatenate(some), places[name], layers[name].shape, layers[name].axis
        )
        for name, some in counts.items()
    }
