"""What a recording keeps only where it is asked to: the input of the read-out, and the spikes of
the last hidden layer by neuron.
"""

from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, emits_whole_spikes
from ahsar_eval.recording.activity import FEATURES, SPIKE_COUNTS, Readout
from ahsar_eval.recording.wiring import Wiring, sample_shape

EXTRAS = (FEATURES, SPIKE_COUNTS)
# of Σ|w·f|: above the rounding of a float32 product, below anything that is not the read-out's
# output
_TOLERANCE = 1e-3


def check_extras(extras: Collection[str]) -> None:
    """Raise `RecordingError` for an extra that is none."""
    for name in extras:
        if name not in EXTRAS:
            raise RecordingError(
                f"a recording can keep {' and '.join(EXTRAS)}, and {name!r} was asked for"
            )


class ExtraTally:
    """Features and spike counts of one recording, filled batch by batch; empty where they were not
    asked for.
    """

    def __init__(
        self, net: SpikingNet, wiring: Wiring, count: int, wanted: Collection[str]
    ) -> None:
        self.net, self.count = net, count
        self.readout_name = wiring.readout if FEATURES in wanted else None
        self.counted_layer = wiring.hidden if SPIKE_COUNTS in wanted else None
        if FEATURES in wanted and wiring.readout is None:
            raise RecordingError(
                "the network has no linear or convolutional layer; features are the input of the "
                "last of them"
            )
        if SPIKE_COUNTS in wanted and wiring.hidden is None:
            raise RecordingError(
                "the network has no spiking layer before its last layer with weights; spike counts "
                "by neuron are those of such a layer"
            )
        self._features: NDArray[np.float32] | None = None
        self._counts: NDArray[Any] | None = None
        if self.counted_layer is not None:
            module = net.backbone.get_submodule(self.counted_layer)
            # Below 2³¹ where a neuron fires several times in a step (counting.MOST_SPIKES), at most
            # T elsewhere.
            largest = 2**31 if emits_whole_spikes(module) else net.spec.timesteps
            neurons = int(np.prod(wiring.neurons[self.counted_layer]))
            self._counts = np.zeros((count, neurons), dtype=np.min_scalar_type(largest))
        self.begin_batch(np.empty(0, dtype=np.int64), 0)

    def begin_batch(self, index: NDArray[np.int64], padded: int) -> None:
        """A batch of the samples `index`, which run as `padded` rows."""
        self._index, self._padded, self._calls = index, padded, 0
        self._sum: Tensor | None = None

    def on_readout(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Before the read-out runs: add its input, summed over the steps in float64 in their order,
        whatever the step mode.
        """
        x = inputs[0].detach()
        shape = sample_shape(x, self.net, self._padded)
        if shape is not None:
            steps = x.reshape(-1, self._padded, *shape)
        elif x.dim() > 1 and x.shape[0] == self._padded:
            steps = x[None]  # the network averages over time before its read-out
        else:
            raise RecordingError(
                f"the last layer with weights, {self.readout_name!r}, receives an input of shape "
                f"{tuple(x.shape)}, "
                "which has no sample axis; features cannot be kept"
            )
        for step in steps:
            self._calls += 1
            self._sum = step.double() if self._sum is None else self._sum + step

    def on_counts(self, done: Tensor) -> None:
        """Spikes over all T of the neurons of the counted layer, [n, *shape]."""
        if self._counts is not None:
            self._counts[self._index] = done.flatten(1).cpu().to(torch.int64).numpy()

    def end_batch(self) -> None:
        """Put the batch's features where its samples belong."""
        if self.readout_name is None or self._sum is None:
            return
        mean = (self._sum[: len(self._index)] / self._calls).flatten(1).float().cpu().numpy()
        if self._features is None:
            self._features = np.empty((self.count, mean.shape[1]), dtype=np.float32)
        self._features[self._index] = mean

    @property
    def features(self) -> NDArray[np.float32] | None:
        """Time mean of the read-out's input, [N, D]."""
        return self._features

    @property
    def spike_counts(self) -> NDArray[Any] | None:
        """Spikes over all T of each neuron of the counted layer, [N, L], in the smallest unsigned
        type that holds T.
        """
        if self._counts is None:
            return None
        largest = max(int(self._counts.max(initial=0)), self.net.spec.timesteps)
        return self._counts.astype(np.min_scalar_type(largest), copy=False)

    def readout(self, logits: NDArray[Any]) -> Readout | None:
        """Weight and bias of the last layer with weights where it is linear and the time-mean
        `logits` [N, T, K] are its output.

        None where something else makes the logits: a spiking layer behind it, a convolution, a
        second branch.
        """
        module = (
            None
            if self.readout_name is None
            else self.net.backbone.get_submodule(self.readout_name)
        )
        if self._features is None or not isinstance(module, nn.Linear):
            return None
        weight = module.weight.detach().double().cpu().numpy()
        bias = (
            np.zeros(len(weight))
            if module.bias is None
            else module.bias.detach().double().cpu().numpy()
        )
        if weight.shape != (logits.shape[2], self._features.shape[1]):
            return None
        tolerance = max(_TOLERANCE, 4 * torch.finfo(module.weight.dtype).eps)
        for start in range(0, self.count, 4096):
            rows = slice(start, start + 4096)
            given = self._features[rows].astype(np.float64)
            off = np.abs(given @ weight.T + bias - logits[rows].mean(axis=1, dtype=np.float64))
            if (off > tolerance * (np.abs(given) @ np.abs(weight).T + np.abs(bias))).any():
                return None
        return Readout(weight, bias)
