"""What `estimate` gives: energy per inference by layer, part and operation, with everything that is
not in the sum named; and accuracy against it, with the points that no other one beats (the Pareto
front).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PerSample = NDArray[np.float64]
Row = Mapping[str, Any]
# One network on one set, sample by sample, [N] each: energy_pj, synops, rate (not without a spiking
# layer) and accuracy (1 where it is right; of the samples with a label).
Samples = Mapping[str, PerSample]
NOT_INCLUDED = (
    "memory access and data movement, beyond what the profile's prices hold",
    "static power",
    "the read-out's mean over time",
)


@dataclass(frozen=True)
class EnergyResult:
    """Energy of one checkpoint on one set, pJ per inference, with what was not counted: `row` is
    what JSON holds.

    Numbers are means over the set's samples, and an energy is None where nothing is priced. A row
    of `layers` is a layer with weights: `input` is the kind of what it receives, from `source`,
    with `input_spikes` and `input_rate` where a spiking layer feeds it; `acs` and `macs` are what
    is charged under the choices, `effective_macs` leaves out zero inputs, `macs_all_steps` charges
    dense multiply-accumulates at every step (both 0 where spikes are accumulated); `synaptic_pj`
    prices ACs and MACs, `other_pj` the bias, `energy_pj` is their sum; `synops_per_synapse` is the
    number of spikes that each connection carries, None where values are multiplied or an average
    pooling's window is not known. A row of `neurons` is a spiking layer: `spikes`, `rate` per
    neuron and step, `threshold`, `updates` (neurons × T). A row of `operators` is an operation
    without weights, with the `acs` and `macs` of products of two activities.

    `total_acs` and `total_macs` are those of `layers` and of products of two activities (matmuls).
    `total_energy_pj` is all that is counted and priced: Σ `energy_pj` over `layers`, `neurons` and
    `operators`, and the mean over samples. `quantiles_pj` are over samples, by '0.05', '0.25',
    '0.5', '0.75' and '0.95'. `totals_by_part` holds the parts with a price. `parts` are the lines
    of the account: layer, part, operation ('update' where a chip publishes a price per neuron
    update, with the detail 'active' or 'inactive'), detail, count and energy_pj; `accesses` those
    of memories, in no total. `unpriced` are counted operations without a price in the profile:
    part, operation, detail, count, layers, reason. `uncounted` has no rule or lacks what a rule
    needs: name, reason. `accuracy` is None without labels. `mean_rate` is spikes per neuron and
    step, the unweighted mean over layers, `rate_per_neuron` that over all neurons; None without a
    spiking layer. `ann` and `break_even`: `energy/ann.py`; `memory` is Lemaire's model, for
    profiles that price memory.

    Of a network that adapts there are also `adaptation`, what adapts and how, and `regulation`: the
    `operations` and `energy_pj` that it adds to an inference (in the total), and `once_pj`, the
    sample `passes` that adapted to the set at the energy of an inference each (in no total).

    What shifts are measured by is beside it: `split` describes the set, `samples` are the run
    sample by sample; `synops` and `spikes`, [N] each by layer, the accumulations that spikes drive
    and the spikes of spiking layers.
    """

    row: dict[str, Any]
    split: Mapping[str, Any]
    samples: Samples
    synops: Mapping[str, PerSample]
    spikes: Mapping[str, PerSample]


def network_of(row: Mapping[str, Any]) -> str:
    """A network's name for a reader, with its thresholds where they are not its own."""
    name, thresholds = str(row["checkpoint"]), row["thresholds"]
    return name if thresholds in ("replay", "base") else f"{name} ({thresholds})"


def label_of(row: Mapping[str, Any]) -> str:
    """A network's name with what adapts in it; its thresholds are not told."""
    return (
        f"{row['checkpoint']} ({row['adaptation']})" if row.get("adaptation") else row["checkpoint"]
    )


def samples_key(row: Mapping[str, Any]) -> str:
    """Under which name results hold the energy of each sample, [N] pJ."""
    return f"energy_pj of {label_of(row)} on {row['data']}, {row['profile']}"


def accuracy_per_uj(accuracy: float | None, energy_pj: float) -> float | None:
    """Accuracy (a fraction) per µJ of an inference; None without labels or where nothing is
    priced.
    """
    if accuracy is None or energy_pj <= 0:
        return None
    return accuracy / (energy_pj / 1e6)


def on_front(points: Sequence[tuple[float | None, float]]) -> list[bool]:
    """Which of (accuracy, energy) no other point beats: none is as accurate for less, or more
    accurate for no more.

    A point without accuracy is on no front and beats none. Equal points are on it together.
    """
    return [
        accuracy is not None
        and not any(
            a is not None and a >= accuracy and e <= energy and (a, e) != (accuracy, energy)
            for a, e in points
        )
        for accuracy, energy in points
    ]


def with_fronts(points: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of several networks at several `scale`s with `front` (of the network's own points) and
    `joint_front` (of all points); those of a network by scale, its own setting last where it has
    no scale.
    """

    def marked(points: Sequence[Row], name: str) -> list[dict[str, Any]]:
        on = on_front([(point["accuracy"], point["total_energy_pj"]) for point in points])
        return [{**point, name: each} for point, each in zip(points, on, strict=True)]

    networks: dict[str, list[Row]] = {}
    for point in points:
        networks.setdefault(label_of(point), []).append(point)
    for own in networks.values():
        own.sort(key=lambda point: (point["scale"] is None, point["scale"] or 0.0))
    fronts = [point for own in networks.values() for point in marked(own, "front")]
    return marked(fronts, "joint_front")
