"""What a convention is: a way to count a run, by parts, and the steps that lead from synaptic
operations, the reference, to what it gives, each from counts of its own.

A step yields what it adds for each layer. Layers for which `Rules.has_rule` is false are taken out
by `without_rule` alone. First every call is judged: those that hold spikes by the counter's rule
give accumulations, all others multiply-accumulates; zero inputs, padding and weights that are zero
come after.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.conventions.run import (
    Amount,
    Calls,
    Number,
    Run,
    Weighted,
    exact,
    json_number,
    plain,
    quotient,
)
from ahsar_eval.energy.conventions.synaptic import synaptic

Count = Callable[[Run], Iterator[Amount]]

NO_RULE = "layers without a rule"
FIRST_LAYER = "steps of the first layer"
AVERAGE_POOLING = "average pooling before weights"
INTEGERS = "integer spikes"
JUDGED = "calls judged by their values"
ZERO_INPUTS = "zero inputs"
PADDING = "products on padding"
ZERO_WEIGHTS = "zero weights"
RATES = "mean rates"
BATCH_NORM = "batch norm"
POOLING = "pooling"
MEANS = "means"
ADDITIONS = "residual additions"
NEURONS = "neurons"
BIASES = "biases"
MATMULS = "matmuls"

# The steps in the order they are taken, each with the question on which two conventions differ.
REASONS: dict[str, str] = {
    NO_RULE: "whether a kind of layer with weights is known at all",
    FIRST_LAYER: "whether a static image's layer is multiplied at every time step or once",
    AVERAGE_POOLING: (
        "whether a pooled spike is a fraction to multiply by, or an accumulation "
        "through pooling and weights"
    ),
    INTEGERS: "whether a sum of k spikes is a value to multiply by, or k accumulations",
    JUDGED: (
        "whether a call whose values look like spikes is accumulated, whatever its layer "
        "receives elsewhere; depends on the batch"
    ),
    ZERO_INPUTS: "whether inputs that are zero are multiplied",
    PADDING: "whether positions where the kernel lies on padding are multiplied",
    ZERO_WEIGHTS: "whether weights that are zero are used",
    RATES: (
        "mean rate × all products, or every spike with the outputs it reaches: at borders it "
        "reaches fewer"
    ),
    BATCH_NORM: "whether normalisation is counted apart or folded into the layer before it",
    POOLING: "whether pooling is counted as operations of its own",
    MEANS: "whether the sums of a mean are counted, such as that of the logits over time",
    ADDITIONS: (
        "whether additions outside spiking layers are counted, those of residual branches above all"
    ),
    NEURONS: "whether and how updates of membrane potentials are counted",
    BIASES: "whether bias additions are counted",
    MATMULS: "whether and how products of two tensors of the network are counted, as in attention",
}


@dataclass(frozen=True)
class Rules:
    """How a counter judges layers with weights: `is_spiking` marks the calls [B, C] whose products
    are accumulations; `products` of one sample and step as the counter takes them.
    """

    is_spiking: Callable[[Calls], NDArray[np.bool_]]
    has_rule: Callable[[Weighted], bool] = lambda layer: True
    products: Callable[[Weighted], int] = lambda layer: layer.padded

    def layers(self, run: Run) -> Iterator[tuple[Weighted, NDArray[np.bool_]]]:
        """Layers with weights that the counter has a rule for, with their spiking calls [B, C]."""
        for layer in run.weighted_layers:
            if self.has_rule(layer):
                yield layer, self.is_spiking(layer.calls)

    def without_rule(self, run: Run) -> Iterator[Amount]:
        """Layers with weights that the counter knows nothing of, taken out."""
        for layer in run.weighted_layers:
            if not self.has_rule(layer):
                yield -synaptic(layer)

    def every_step(self, run: Run) -> Iterator[Amount]:
        """A static image's layer is multiplied at every time step, not once."""
        for layer, _ in self.layers(run):
            if not layer.synapse.is_spiking:
                yield Amount(layer.name, layer.dense * (layer.sample_steps - layer.charged))

    def average_pooling_apart(self, run: Run) -> Iterator[Amount]:
        """Pooled spikes are fractions: dense products, not accumulations through the pooling."""
        yield from self._as_values(run, "pooled spikes")

    def integers_as_values(self, run: Run) -> Iterator[Amount]:
        """Sums of spikes are values above 1: dense products instead of k accumulations for a value
        k.
        """
        yield from self._as_values(run, "integer spikes")

    def _as_values(self, run: Run, kind: str) -> Iterator[Amount]:
        for layer, _ in self.layers(run):
            if layer.synapse.kind == kind:
                dense = layer.dense * layer.sample_steps
                yield Amount(layer.name, dense, -int(layer.synapse.operations.sum()))

    def judged_by_values(self, run: Run) -> Iterator[Amount]:
        """Calls of analog, pooled or integer values that the counter takes for spikes: inputs that
        are not zero, instead of dense products.
        """
        for layer, found in self.layers(run):
            if layer.synapse.kind != "spikes":
                dense = layer.dense * layer.calls.sample_steps(found)
                yield Amount(layer.name, -dense, int(layer.calls.uses[found].sum()))

    def zero_inputs(self, run: Run) -> Iterator[Amount]:
        """Connections from inputs that are zero, in calls of multiply-accumulates."""
        for layer, found in self.layers(run):
            calls = layer.calls
            from_zeros = layer.dense * calls.samples * calls.steps - calls.uses  # [B, C]
            yield Amount(layer.name, -int(from_zeros[~found].sum()))

    def zero_weights(self, run: Run) -> Iterator[Amount]:
        """Uses of weights that are zero."""
        for layer, found in self.layers(run):
            unused = layer.calls.uses - layer.calls.live
            yield Amount(layer.name, -int(unused[~found].sum()), -int(unused[found].sum()))

    def padding(self, run: Run) -> Iterator[Amount]:
        """Products on padding, in calls of multiply-accumulates."""
        for layer, found in self.layers(run):
            on_padding = self.products(layer) - layer.dense
            yield Amount(layer.name, on_padding * layer.calls.sample_steps(~found))

    def mean_rates(self, run: Run) -> Iterator[Amount]:
        """In calls of spikes, mean value times all products (as if inner neurons and borders fired
        alike) instead of exact counts.
        """
        for layer, found in self.layers(run):
            spikes = layer.synapse.kind == "spikes"
            counted = layer.synapse.operations if spikes else layer.calls.uses[found]
            yield Amount(layer.name, 0, self.rate_products(layer, found) - int(counted.sum()))

    def rate_products(self, layer: Weighted, found: NDArray[np.bool_]) -> Number:
        """Mean value × all products over the calls marked in `found` [B, C]."""
        share = exact(layer.calls.total[found]) * self.products(layer)
        return quotient(share, layer.geometry.input_elements)


@dataclass(frozen=True)
class Convention:
    """A way to count: `parts` give the amounts of a run, by what they are for; `steps` lead from
    the reference (ahsar-eval) to it, each from counts of its own.

    `judges_calls` says whether values decide, call by call, what is a MAC and what an AC: the
    result then depends on the batch size. `extra` are further numbers that the tool prints beside
    them, `notes` what a reader of this run must know.
    """

    name: str
    rule: str
    source: str
    judges_calls: bool
    parts: Mapping[str, Count]
    steps: Mapping[str, Count] = field(default_factory=dict)
    extra: Callable[[Run, Sequence[Amount]], Mapping[str, Number]] = lambda run, amounts: {}
    notes: Callable[[Run], Sequence[str]] = lambda run: ()

    def totals(self, run: Run) -> "ConventionTotals":
        """MACs and ACs of the whole run, exact.

        Raises `RecordingError` for a recording without shapes and calls.
        """
        amounts = [
            Amount(layer, plain(macs), plain(acs), part)
            for part, count in self.parts.items()
            for layer, macs, acs, _ in count(run)
        ]
        notes = [*self.notes(run)]
        if self.judges_calls:
            notes.append(
                f"Calls are judged as a whole, so the numbers hold for batches of {run.batch_size}."
            )
        listed = [f"{one.name} ({one.reason})" for one in run.recording.uncounted]
        if listed:
            notes.append(f"Not in these numbers: {'; '.join(listed)}.")
        return ConventionTotals(
            convention=self.name,
            macs=plain(sum((amount.macs for amount in amounts), 0)),
            acs=plain(sum((amount.acs for amount in amounts), 0)),
            extra=self.extra(run, amounts),
            per_layer=tuple(amount for amount in amounts if amount.macs or amount.acs),
            notes=tuple(notes),
            samples=run.samples,
            batch_size=run.batch_size,
        )


@dataclass(frozen=True)
class ConventionTotals:
    """MACs and ACs of a whole run of `samples` samples in batches of `batch_size` under one
    convention, integers or exact fractions.
    """

    convention: str
    macs: Number
    acs: Number
    extra: Mapping[str, Number]
    per_layer: tuple[Amount, ...]
    notes: tuple[str, ...]
    samples: int
    batch_size: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping: per inference as numbers, totals exact (fractions as
        'numerator/denominator').
        """
        return {
            "convention": self.convention,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "macs_per_inference": float(Fraction(self.macs) / self.samples),
            "acs_per_inference": float(Fraction(self.acs) / self.samples),
            **Amount("", self.macs, self.acs).totals,
            "extra_total": {name: json_number(value) for name, value in self.extra.items()},
            "layers": [
                {"layer": amount.layer, "part": amount.part, **amount.totals}
                for amount in self.per_layer
            ],
            "notes": list(self.notes),
        }
