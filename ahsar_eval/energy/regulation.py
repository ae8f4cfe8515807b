"""What a regulator at test time does beside the network, as operations: counters while its batches
come in, and steps that each move every threshold (docs/energy.md, "What adapts").

    c ← clip(c + β·(log r − log r*) − γ·c, −b, +b), drawn to the mean of its layer;
    v_th = base · exp(c)
"""

from collections.abc import Iterator, Mapping
from math import inf
from typing import Any

from numpy.typing import NDArray

from ahsar_eval.recording import Recording, adaptation
from ahsar_eval.recording.adaptation import BATCHNORM, EPISODIC, PREDICT, TENT


def told(recording: Recording) -> str:
    """What adapted in a recording, and by which protocol; '' where nothing did."""
    facts = recording.provenance.get("adaptation")
    return "" if facts is None else adaptation.told(facts["modes"], facts["protocol"])


def step_operations(params: Mapping[str, Any], thresholds: int) -> dict[str, int]:
    """Operations of one step of a layer with so many thresholds, by kind; what holds for a whole
    stream, such as log r*, is taken as known.

    For each threshold: its count times a constant, the floor, a logarithm, minus log r*, c + β·…,
    two bounds, exp, times the base threshold, a write. A leak adds c − γ·c; the draw to the mean of
    the layer its share of the sum, the distance to it and that times its pull, and for the layer
    the mean and its own pull.
    """
    draws, leaks = params["tau"] < inf, params["gamma"] > 0
    each = {"multiply": 2, "compare": 3, "log": 1, "exp": 1, "write": 1}
    each |= {"add": 1 + 2 * draws, "mac": 1 + draws + leaks}
    found = {operation: thresholds * count for operation, count in each.items()}
    return found | {"multiply": found["multiply"] + 2 * draws}


def regulation_operations(
    recording: Recording,
) -> Iterator[tuple[str, str, str, NDArray[Any] | float]]:
    """Layer, operation, detail and count per inference ([N], or of every sample) of what regulates
    thresholds while the samples of a recording run.

    In a stream, a counter adds one for every spike of a regulated layer (where batches are adapted
    to before they are predicted, it does so in a pass of its own, which is no inference), and a
    step after each batch is shared by all samples. In an episode nothing of it runs.
    """
    facts = recording.provenance.get("adaptation") or {}
    state = (facts.get("state") or {}).get("regulation")
    if state is None or facts["protocol"] == EPISODIC:
        return
    steps = -(-facts["n"] // facts["batch"])
    for layer in recording.layers:
        own = state["state"].get(layer.name)
        if own is None:
            continue
        if facts["first"] == PREDICT:
            yield layer.name, "add", "counters", layer.spikes
        for operation, count in step_operations(facts["params"], len(own)).items():
            detail = "threshold" if operation == "write" else "law"
            yield layer.name, operation, detail, count * steps / facts["n"]


def uncounted_of(recording: Recording) -> str:
    """What a stream does that has no rule; '' for nothing."""
    facts = recording.provenance.get("adaptation") or {}
    norming = {BATCHNORM, TENT} & set(facts.get("modes", ()))
    if not norming or facts["protocol"] == EPISODIC:
        return ""
    gradient = " and the gradient of the entropy" if TENT in norming else ""
    return f"the statistics that norms take of each batch of a stream{gradient} have no rule"
