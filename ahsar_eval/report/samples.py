"""Samples that say more than a mean: where a network is sure and wrong, and where it doubts; and
what is no number on the page: their pictures, rasters and rate maps, as PNG in data URIs.
"""

import base64
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ahsar_eval.data import Split
from ahsar_eval.data.events.frames import drawn
from ahsar_eval.evaluation.raster import firing_map, shown_neurons
from ahsar_eval.ood import ScoredSet
from ahsar_eval.plots.style import rate_colours
from ahsar_eval.report.run import Found, Network

CONFIDENT, DOUBTFUL = "confident error", "known, looks unknown"
SHIFTED, CERTAIN = "confident error, shifted", "unknown, looks known"
KINDS = {
    CONFIDENT: "samples of the ID set that the network is surest of and wrong about",
    DOUBTFUL: "samples of the ID set that look most unknown to it",
    SHIFTED: "samples of shifts, at their largest severity, that it is surest of and wrong about",
    CERTAIN: "samples of other sets that look most known to it",
}
_SIDE = 64  # pixels of a picture at most
_SPIKE = (60, 130, 205)
Facts = dict[str, Any]


def samples_of(found: Found) -> tuple[list[Facts], dict[str, str]]:
    """The examples of each kind and network, as facts; and pictures by "set/index", as data
    URIs.
    """
    facts = [
        one for network in found.networks for one in _examples(network, found.request.examples)
    ]
    wanted: dict[str, list[int]] = {}
    for one in facts:
        wanted.setdefault(one["set"], []).append(one["index"])
    plan = found.networks[0].plan
    splits = {split.name: split for split in (plan.id_split, *plan.others)}
    pictures = {
        f"{name}/{index}": uri
        for name, indices in wanted.items()
        for index, uri in _pictures(splits[name], sorted(set(indices)))
    }
    return facts, pictures


def _examples(network: Network, most: int) -> Iterator[Facts]:
    result = network.result
    clean, score = [result.id_set], result.rows[0].score
    shifted = [some for some in network.shifted if some.name in network.judged]
    if result.id_set.name in network.judged:
        yield from _chosen(network, CONFIDENT, clean, most, errors=True)
    yield from _chosen(network, DOUBTFUL, clean, most, by=score, descending=True)
    yield from _chosen(network, SHIFTED, shifted, most, errors=True)
    yield from _chosen(network, CERTAIN, network.others, most, by=score)


def _chosen(
    network: Network,
    kind: str,
    sets: list[ScoredSet],
    most: int,
    *,
    errors: bool = False,
    by: str = "",
    descending: bool = False,
) -> Iterator[Facts]:
    """The `most` samples of all `sets` by confidence, of wrong ones alone, or `by` a score."""
    found: list[tuple[float, ScoredSet, int]] = []
    for some in sets:
        confidence, predicted = _predictions(some)
        known = some.labels >= 0
        eligible = np.flatnonzero(known & (predicted != some.labels)) if errors else None
        places = np.arange(len(some)) if eligible is None else eligible
        order = -confidence if errors else some.scores[by] * (-1 if descending else 1)
        best = places[np.argsort(order[places], kind="stable")[:most]]
        found += [(float(order[i]), some, int(i)) for i in best]
    found.sort(key=lambda one: one[0])
    for _, some, i in found[:most]:
        confidence, predicted = _predictions(some)
        yield {
            "label": network.label,
            "kind": kind,
            "set": some.name,
            "index": i,
            "class": _class_of(some, int(some.labels[i])),
            "predicted": _class_of(network.result.id_set, int(predicted[i])),
            "confidence": float(confidence[i]),
            "score": float(some.scores[network.result.rows[0].score][i]),
        }


def _predictions(some: ScoredSet) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Confidence [N] of the time-mean logits under a softmax, and the class it is of."""
    mean = some.logits.mean(axis=1, dtype=np.float64)
    shifted = np.exp(mean - mean.max(axis=1, keepdims=True))
    return 1 / shifted.sum(axis=1), mean.argmax(axis=1)


def _class_of(some: ScoredSet, place: int) -> str | None:
    names = some.split.get("classes") or ()
    return str(names[place]) if 0 <= place < len(names) else None


def _pictures(split: Split, indices: list[int]) -> Iterator[tuple[int, str]]:
    """What stands at these places of a split, for the eye."""
    for index in indices:
        frames = split.tensors(np.array([index]))
        frames = frames[:, 0] if frames.ndim == 5 else frames
        yield index, png(colours_of(drawn(frames.numpy())))


def colours_of(picture: NDArray[np.float32]) -> Image.Image:
    """An image [C, H, W] in [0, 1], or counts of events [2, H, W] (OFF, ON): red ON, blue OFF."""
    if len(picture) == 2:
        off, on = np.sqrt(picture / (float(picture.max()) or 1.0))
        shown = np.stack([1 - off, 1 - np.maximum(off, on), 1 - on], axis=-1)
    elif len(picture) == 1:
        shown = np.repeat(picture[0][..., None] / max(float(picture.max()), 1.0), 3, axis=-1)
    else:
        shown = picture[:3].transpose(1, 2, 0)
    image = Image.fromarray((255 * np.clip(shown, 0, 1)).round().astype(np.uint8))
    image.thumbnail((_SIDE, _SIDE))
    return image


def rasters_of(network: Network) -> list[list[dict[str, str]]]:
    """For each traced sample and layer the `raster` of at most 160 neurons over time, and the rate
    `map` of the sample; as data URIs.
    """
    top = most_rate(network)
    return [
        [
            {
                "raster": png(_raster(trace.spikes[layer.name])),
                "map": png(_map(firing_map(trace.spikes[layer.name]), top)),
            }
            for layer in network.recording.layers
        ]
        for trace in network.recording.traces
    ]


def most_rate(network: Network) -> float:
    """The largest rate on any map of a network's samples: where its colours end."""
    maps = [
        np.nanmax(firing_map(trace.spikes[layer.name]))
        for trace in network.recording.traces
        for layer in network.recording.layers
    ]
    return float(max(maps, default=0.0)) or 1.0


def _raster(spikes: NDArray[Any]) -> Image.Image:
    """A pixel for each neuron shown and step, in colour where it fires."""
    flat = spikes.reshape(len(spikes), -1)
    fired = (flat[:, shown_neurons(flat.shape[1])] > 0).T
    image = Image.fromarray(fired.astype(np.uint8), mode="P")
    image.putpalette([255, 255, 255, *_SPIKE])
    image.info["transparency"] = 0
    return image


def _map(rates: NDArray[np.float64], top: float) -> Image.Image:
    """Rates [H, W] in the colours of a common scale from 0 to `top`; no neuron, no colour."""
    levels = np.nan_to_num(np.clip(rates / top, 0, 1) * 254).round().astype(np.uint8) + 1
    levels[np.isnan(rates)] = 0
    image = Image.fromarray(levels, mode="P")
    image.putpalette([0, 0, 0, *rate_colours(255)])
    image.info["transparency"] = 0
    return image


def png(image: Image.Image) -> str:
    """A picture as a data URI."""
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True, transparency=image.info.get("transparency"))
    return "data:image/png;base64," + base64.b64encode(held.getvalue()).decode()
