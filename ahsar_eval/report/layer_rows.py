"""In which row of a per-layer figure each part of the work stands: with the layer with weights that
it follows.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.energy import EnergyResult

# Parts of an account that stand under another name in the figure; synapses stand under their
# operation, ac or mac.
_PARTS = {"normalisation": "bias"}


def layer_energies(result: EnergyResult) -> tuple[list[str], Mapping[str, NDArray[np.float64]]]:
    """Names of the rows [L] and for each part of the figure the pJ [L] per inference; they sum to
    the result's total energy.

    The rows are the layers with weights in network order, then what could not be placed with one of
    them. What has no price is left out.
    """
    rows = [layer.name for layer in result.layers]
    placed: list[tuple[str, str, float]] = []
    for line in result.parts:
        if line.energy_pj is None:
            continue
        row = row_of(line.layer, result)
        if row not in rows and line.energy_pj > 0:
            rows.append(row)
        if row in rows:
            placed.append(
                (
                    row,
                    line.operation if line.part == "synapses" else _PARTS.get(line.part, line.part),
                    line.energy_pj,
                )
            )
    energies: dict[str, NDArray[np.float64]] = {}
    for row, part, energy in placed:
        energies.setdefault(part, np.zeros(len(rows)))[rows.index(row)] += energy
    return rows, energies or {"ac": np.zeros(len(rows))}


def row_of(name: str, result: EnergyResult) -> str:
    """The layer with weights that `name` belongs to or follows; `name` itself where neither its
    place nor its name tells.

    A spiking layer stands with the layer before the first one that it feeds. An operation in a
    block's own forward stands with the last layer of the block. Else the layer of the same module
    decides: the only one, one of the same number, or the last with a smaller index.
    """
    layers = [layer.name for layer in result.layers]
    module = name.partition(":")[0]
    if module in layers:
        return module
    fed = next((place for place, layer in enumerate(result.layers) if layer.source == name), None)
    if fed is not None:
        return layers[max(0, fed - 1)]
    inside = [layer for layer in layers if layer.startswith(f"{module}.")]
    if inside:
        return inside[-1]
    parent, _, own = module.rpartition(".")
    beside = {
        layer.rpartition(".")[2]: layer for layer in layers if layer.rpartition(".")[0] == parent
    }
    if (
        parent and len(beside) == 1
    ):  # the network itself is no module that says where something belongs
        return next(iter(beside.values()))
    if own.isdigit():
        before = [sibling for sibling in beside if sibling.isdigit() and int(sibling) < int(own)]
        return beside[max(before, key=int)] if before else name
    number = _number(own)
    same = [layer for sibling, layer in beside.items() if number and _number(sibling) == number]
    return same[0] if len(same) == 1 else name


def _number(name: str) -> str:
    """What follows the letters: '1_2' of 'bn1_2'."""
    return name.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
