"""An account at a profile's prices: what has a price, what has none, and what a chip prices as one
neuron update.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy.account import Account
from ahsar_eval.energy.profiles import Profile
from ahsar_eval.recording import Recording


@dataclass(frozen=True)
class PricedEntry:
    """One line of an account, `counts` [N], with its price; None is no price, `covered` that the
    price of an AC already holds it.
    """

    layer: str
    part: str
    operation: str
    detail: str
    counts: NDArray[np.int64]
    price_pj: float | None
    covered: bool = False

    @property
    def energy_pj(self) -> float | None:
        """Mean over samples; None without a price."""
        return None if self.price_pj is None else float(self.counts.mean()) * self.price_pj


def priced(recording: Recording, counted: Account, profile: Profile) -> list[PricedEntry]:
    """Every line of the account with its price.

    Where a chip publishes the price of a neuron's update, with a spike and without, each layer's
    updates stand in two lines in place of their single operations. A neuron that fires several
    times in a step is active once.
    """
    lines: list[PricedEntry] = []
    updated: set[str] = set()
    spikes = {layer.name: layer for layer in recording.layers}
    for entry in counted.entries:
        covered = entry.part in profile.covers
        if entry.part == "neurons" and profile.neuron_active_pj is not None and not covered:
            if entry.layer not in updated:
                updated.add(entry.layer)
                layer = spikes[entry.layer]
                updates = layer.neurons * recording.timesteps
                active = np.minimum(layer.spikes, updates).astype(np.int64)
                lines.append(
                    PricedEntry(
                        entry.layer, "neurons", "update", "active", active, profile.neuron_active_pj
                    )
                )
                lines.append(
                    PricedEntry(
                        entry.layer,
                        "neurons",
                        "update",
                        "inactive",
                        updates - active,
                        profile.neuron_inactive_pj,
                    )
                )
            continue
        price = None if covered else profile.price(entry.operation)
        lines.append(
            PricedEntry(
                entry.layer, entry.part, entry.operation, entry.detail, entry.counts, price, covered
            )
        )
    return lines


def energy_of(lines: Sequence[PricedEntry]) -> float | None:
    """Σ energy of what is priced; None where nothing is."""
    known = [line.energy_pj for line in lines if line.energy_pj is not None]
    return sum(known) if known else None


def unpriced_lines(lines: Sequence[PricedEntry]) -> tuple[dict[str, Any], ...]:
    """Counted operations without a price, by part, operation and detail: their mean count per
    inference, layers and the reason.
    """
    found: dict[tuple[str, str, str, bool], dict[str, Any]] = {}
    for line in lines:
        if line.price_pj is not None or not line.counts.any():
            continue
        reason = (
            "the price of a synaptic operation already holds it"
            if line.covered
            else "the profile has no price for it"
        )
        listed = found.setdefault(
            (line.part, line.operation, line.detail, line.covered),
            {
                "part": line.part,
                "operation": line.operation,
                "detail": line.detail,
                "count": 0.0,
                "layers": [],
                "reason": reason,
            },
        )
        listed["count"] += float(line.counts.mean())
        listed["layers"].append(line.layer)
    return tuple(found.values())
