"""Recordings on disk: saved whole, found again by the hash of everything that made them.

The key (see `runner`) covers checkpoint bytes, written thresholds, split identity (with shift, severity and seed), T, step mode,
device, thread count, versions and the code of this package that records. A file is a plain NumPy archive: nothing in it can execute.
"""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.errors import AhsarWarning, OutputError, RecordingError
from ahsar_eval.files import sha256_of, written_whole
from ahsar_eval.recording.activity import LayerActivity, Readout, Recording, SpikeTrace, SynapseActivity, Uncounted

_FORMAT = 1


def key_of_parts(parts: Mapping[str, Any]) -> str:
    """Hash of a JSON-ready description of everything that makes a recording."""
    return sha256_of(json.dumps(parts, sort_keys=True))


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording as `.npz`. Raises `OutputError`."""
    arrays: dict[str, Any] = {"logits": recording.logits, "labels": recording.labels}
    if recording.features is not None:
        arrays["features"] = recording.features
    if recording.readout is not None:
        arrays["readout.weight"], arrays["readout.bias"] = recording.readout.weight, recording.readout.bias
    if recording.spike_counts is not None:
        arrays["spike_counts"] = recording.spike_counts
    for number, layer in enumerate(recording.layers):
        arrays[f"layer{number}.spikes"], arrays[f"layer{number}.rate_map"] = layer.spikes, layer.rate_map
    for number, synapse in enumerate(recording.synapses):
        arrays[f"synapse{number}.operations"] = synapse.operations
    for number, trace in enumerate(recording.traces):
        arrays[f"trace{number}.image"], arrays[f"trace{number}.logits"] = trace.image, trace.logits
        for place, layer in enumerate(recording.layers):
            spikes = trace.spikes[layer.name]
            arrays[f"trace{number}.spikes{place}"] = np.packbits(spikes) if spikes.dtype == bool else spikes
    meta = {
        "format": _FORMAT,
        "split": dict(recording.split),
        "spec": dict(recording.spec),
        "thresholds": dict(recording.thresholds),
        "layers": [{"name": layer.name, "shape": list(layer.shape)} for layer in recording.layers],
        "synapses": [
            {"name": s.name, "kind": s.kind, "source": s.source, "dense_operations": s.dense_operations, "charged_steps": s.charged_steps}
            for s in recording.synapses
        ],
        "traces": [{"index": trace.index, "label": trace.label} for trace in recording.traces],
        "uncounted": [{"name": u.name, "reason": u.reason} for u in recording.uncounted],
        "provenance": dict(recording.provenance),
    }
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with written_whole(path) as temporary, open(temporary, "wb") as writer:
        np.savez_compressed(writer, **arrays)


def load_recording(path: str | Path) -> Recording:
    """Read a recording. Raises `RecordingError` for a file that is none, is damaged or is of another format."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(archive["meta"].tobytes())
            if meta["format"] != _FORMAT:
                raise RecordingError(f"{path} is a recording of format {meta['format']}; this version reads format {_FORMAT}; record again")
            shapes = [tuple(layer["shape"]) for layer in meta["layers"]]
            steps = int(meta["spec"]["timesteps"])
            layers = tuple(
                LayerActivity(layer["name"], shapes[n], archive[f"layer{n}.spikes"], archive[f"layer{n}.rate_map"])
                for n, layer in enumerate(meta["layers"])
            )
            return Recording(
                split=meta["split"],
                spec=meta["spec"],
                thresholds=meta["thresholds"],
                logits=archive["logits"],
                labels=archive["labels"],
                layers=layers,
                synapses=tuple(
                    SynapseActivity(operations=archive[f"synapse{n}.operations"], **synapse) for n, synapse in enumerate(meta["synapses"])
                ),
                traces=tuple(
                    SpikeTrace(
                        index=trace["index"],
                        image=archive[f"trace{n}.image"],
                        label=trace["label"],
                        logits=archive[f"trace{n}.logits"],
                        spikes={
                            layer.name: _unpacked(archive[f"trace{n}.spikes{place}"], steps, layer) for place, layer in enumerate(layers)
                        },
                    )
                    for n, trace in enumerate(meta["traces"])
                ),
                uncounted=tuple(Uncounted(**listed) for listed in meta["uncounted"]),
                provenance=meta["provenance"],
                features=archive.get("features"),
                readout=Readout(archive["readout.weight"], archive["readout.bias"]) if "readout.weight" in archive else None,
                spike_counts=archive.get("spike_counts"),
            )
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(f"{path} is no readable recording ({type(error).__name__}); remove it and record again") from error


def _unpacked(stored: NDArray[Any], steps: int, layer: LayerActivity) -> NDArray[Any]:
    """Spikes of a trace: bits where a neuron fires at most once in a step, whole numbers as they are."""
    if stored.dtype != np.uint8:
        return stored
    return np.unpackbits(stored, count=steps * layer.neurons).astype(bool).reshape(steps, *layer.shape)


class RecordingStore:
    """A folder of recordings by key. A damaged file is as good as none; a folder that cannot be written stores nothing."""

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, key: str) -> Recording | None:
        """The recording of `key`, or None."""
        if self.folder is None or not (path := self.folder / f"{key}.npz").is_file():
            return None
        try:
            return load_recording(path)
        except RecordingError:
            return None

    def keep(self, key: str, recording: Recording) -> None:
        """Store a recording. A cache that cannot be written is no reason to lose the result: it is said once and left alone."""
        if self.folder is None:
            return
        try:
            save_recording(recording, self.folder / f"{key}.npz")
        except OutputError as error:
            warnings.warn(f"recordings are not kept: {error}, or use --no-cache", AhsarWarning, stacklevel=2)
            self.folder = None
