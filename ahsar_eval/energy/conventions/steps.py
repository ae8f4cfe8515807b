"""The steps that lead from synaptic operations (the hub) to what another counter gives, each from
counts of its own.

A step yields what it adds for each layer. Layers for which `Rules.has_rule` is false are taken out
by `without_rule` alone. First every call is judged: those that hold spikes by the counter's rule
give accumulations, all others multiply-accumulates; zero inputs, padding and weights that are zero
come after.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.conventions.run import Amount, Calls, Run, Weighted, exact, quotient
from ahsar_eval.energy.conventions.synaptic import synaptic

Judge = Callable[[Calls], NDArray[np.bool_]]


@dataclass(frozen=True)
class Rules:
    """How a counter judges layers with weights: `is_spiking` marks the calls [B, C] whose products
    are accumulations.
    """

    is_spiking: Judge
    has_rule: Callable[[Weighted], bool] = lambda layer: True

    def layers(self, run: Run) -> Iterator[Weighted]:
        """Layers with weights that the counter has a rule for."""
        return (layer for layer in run.weighted_layers if self.has_rule(layer))


def every_step(run: Run, rules: Rules) -> Iterator[Amount]:
    """A static image's layer is multiplied at every time step, not once."""
    for layer in rules.layers(run):
        if not layer.synapse.is_spiking:
            yield Amount(layer.name, layer.dense * (layer.sample_steps - layer.charged))


def average_pooling_apart(run: Run, rules: Rules) -> Iterator[Amount]:
    """Pooled spikes are fractions: dense products instead of accumulations through the pooling."""
    for layer in rules.layers(run):
        if layer.synapse.kind == "pooled spikes":
            yield Amount(
                layer.name, layer.dense * layer.sample_steps, -int(layer.synapse.operations.sum())
            )


def integers_as_values(run: Run, rules: Rules) -> Iterator[Amount]:
    """Sums of spikes are values above 1: dense products instead of k accumulations for
    a value k."""
    for layer in rules.layers(run):
        if layer.synapse.kind == "integer spikes":
            yield Amount(
                layer.name, layer.dense * layer.sample_steps, -int(layer.synapse.operations.sum())
            )


def judged_by_values(run: Run, rules: Rules) -> Iterator[Amount]:
    """Calls of analog, pooled or integer values that the counter takes for spikes: inputs that are
    not zero, instead of dense products.
    """
    for layer in rules.layers(run):
        if layer.synapse.kind != "spikes":
            found = rules.is_spiking(layer.calls)
            yield Amount(
                layer.name,
                -layer.dense * layer.calls.sample_steps(found),
                int(layer.calls.uses[found].sum()),
            )


def zero_inputs(run: Run, rules: Rules) -> Iterator[Amount]:
    """Connections from inputs that are zero, in calls of multiply-accumulates."""
    for layer in rules.layers(run):
        dense = ~rules.is_spiking(layer.calls)
        from_zeros = (
            layer.dense * layer.calls.samples * layer.calls.steps - layer.calls.uses
        )  # [B, C]
        yield Amount(layer.name, -int(from_zeros[dense].sum()))


def zero_weights(run: Run, rules: Rules) -> Iterator[Amount]:
    """Uses of weights that are zero."""
    for layer in rules.layers(run):
        unused, found = layer.calls.uses - layer.calls.live, rules.is_spiking(layer.calls)
        yield Amount(layer.name, -int(unused[~found].sum()), -int(unused[found].sum()))


def padding(
    run: Run, rules: Rules, products: Callable[[Weighted], int] = lambda layer: layer.padded
) -> Iterator[Amount]:
    """Products on padding, in calls of multiply-accumulates; `products` of one sample and step as
    the counter takes them.
    """
    for layer in rules.layers(run):
        on_padding = products(layer) - layer.dense
        yield Amount(
            layer.name, on_padding * layer.calls.sample_steps(~rules.is_spiking(layer.calls))
        )


def mean_rates(
    run: Run, rules: Rules, products: Callable[[Weighted], int] = lambda layer: layer.padded
) -> Iterator[Amount]:
    """In calls of spikes, mean value times all products (as if inner neurons and borders fired
    alike) instead of exact counts.
    """
    for layer in rules.layers(run):
        found = rules.is_spiking(layer.calls)
        counted = (
            layer.synapse.operations.sum()
            if layer.synapse.kind == "spikes"
            else layer.calls.uses[found].sum()
        )
        share = exact(layer.calls.total[found]) * products(layer)
        yield Amount(layer.name, 0, quotient(share, layer.geometry.input_elements) - int(counted))


def without_rule(run: Run, rules: Rules) -> Iterator[Amount]:
    """Layers with weights that the counter knows nothing of, taken out."""
    for layer in run.weighted_layers:
        if not rules.has_rule(layer):
            amount = synaptic(layer)
            yield Amount(layer.name, -amount.macs, -amount.acs)
