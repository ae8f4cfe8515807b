"""What a recording keeps only where it is asked to: the input of the read-out, and the spikes of
the last hidden layer by neuron.
"""

import math
from collections.abc import Collection
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ahsar_eval.errors import RecordingError
from ahsar_eval.networks import SpikingNet, emits_whole_spikes
from ahsar_eval.recording.activity import FEATURES, SPIKE_COUNTS, Readout
from ahsar_eval.recording.counting import MOST_SPIKES, Pass
from ahsar_eval.recording.graph import Graph
from ahsar_eval.recording.op_counter import sample_shape

EXTRAS = (FEATURES, SPIKE_COUNTS)
# Of Σ|w·f|: above the rounding of a float32 product, below anything that is not the read-out's
# output.
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

    `features` [N, D] is the time mean of the read-out's input.
    """

    def __init__(
        self, shared: Pass, net: SpikingNet, graph: Graph, wanted: Collection[str]
    ) -> None:
        self.shared, self.net = shared, net
        self.readout_name = graph.readout if FEATURES in wanted else None
        self.counted_layer = graph.hidden if SPIKE_COUNTS in wanted else None
        if FEATURES in wanted and graph.readout is None:
            raise RecordingError(
                "the network has no linear or convolutional layer; features are the input of the "
                "last of them"
            )
        if SPIKE_COUNTS in wanted and graph.hidden is None:
            raise RecordingError(
                "the network has no spiking layer before its last layer with weights; spike counts "
                "by neuron are those of such a layer"
            )
        self.features: NDArray[np.float32] | None = None
        self._counts: NDArray[Any] | None = None
        if self.counted_layer is not None:
            module = net.backbone.get_submodule(self.counted_layer)
            # Below 2³¹ where a neuron fires several times in a step (counting.MOST_SPIKES), at most
            # T elsewhere.
            largest = MOST_SPIKES if emits_whole_spikes(module) else net.spec.timesteps
            neurons = math.prod(graph.neurons[self.counted_layer])
            self._counts = np.zeros((shared.count, neurons), dtype=np.min_scalar_type(largest))
        self.begin_batch()

    def begin_batch(self) -> None:
        """Forget the batch before."""
        self._steps = 0
        self._sum: Tensor | None = None

    def on_readout(self, x: Tensor) -> None:
        """Before the read-out runs: add its input, summed over the steps in float64 in their order,
        whatever the step mode.
        """
        x, rows = x.detach(), self.shared.padded
        shape = sample_shape(x, self.net.spec, rows)
        if shape is not None:
            steps = x.reshape(-1, rows, *shape)
        elif x.dim() > 1 and x.shape[0] == rows:
            steps = x[None]  # the network averages over time before its read-out
        else:
            raise RecordingError(
                f"the last layer with weights, {self.readout_name!r}, receives an input of shape "
                f"{tuple(x.shape)}, which has no sample axis; features cannot be kept"
            )
        for step in steps:
            self._steps += 1
            self._sum = step.double() if self._sum is None else self._sum + step

    def on_counts(self, done: Tensor) -> None:
        """Spikes over all T of the neurons of the counted layer, [n, *shape]."""
        if self._counts is not None:
            self._counts[self.shared.index] = done.flatten(1).cpu().to(torch.int64).numpy()

    def end_batch(self) -> None:
        """Put the batch's features where its samples belong."""
        if self._sum is None:
            return
        mean = (self._sum[: self.shared.real] / self._steps).flatten(1).float().cpu().numpy()
        if self.features is None:
            self.features = np.empty((self.shared.count, mean.shape[1]), dtype=np.float32)
        self.features[self.shared.index] = mean

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
        if self.readout_name is None or self.features is None:
            return None
        layer = self.net.backbone.get_submodule(self.readout_name)
        if not isinstance(layer, nn.Linear):
            return None
        weight = layer.weight.detach().double().cpu().numpy()
        bias = np.zeros(len(weight))
        if layer.bias is not None:
            bias = layer.bias.detach().double().cpu().numpy()
        if weight.shape != (logits.shape[2], self.features.shape[1]):
            return None
        tolerance = max(_TOLERANCE, 4 * torch.finfo(layer.weight.dtype).eps)
        for start in range(0, len(logits), 4096):
            rows = slice(start, start + 4096)
            given = self.features[rows].astype(np.float64)
            off = np.abs(given @ weight.T + bias - logits[rows].mean(axis=1, dtype=np.float64))
            if (off > tolerance * (np.abs(given) @ np.abs(weight).T + np.abs(bias))).any():
                return None
        return Readout(weight, bias)
