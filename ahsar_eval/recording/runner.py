"""Recordings made once: whole files, found again by the hash of everything that made them.

The key covers checkpoint bytes, written thresholds, split identity (with shift, severity and seed),
T, step mode, device, thread count, versions and the code of this package that records. A file is a
plain NumPy archive: nothing in it can execute.
"""

import json
import math
import time
import warnings
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ahsar_eval.data import Split, View
from ahsar_eval.errors import AhsarWarning, OutputError, RecordingError
from ahsar_eval.files import sha256_of, written_whole
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import Shape, SpikingNet, network_identity
from ahsar_eval.networks.checkpoints import Checkpoint, network_of
from ahsar_eval.process import say
from ahsar_eval.provenance import code_digest, processor, versions
from ahsar_eval.recording.activity import (
    Geometry,
    LayerActivity,
    NeuronModel,
    OperatorActivity,
    Readout,
    Recording,
    Seen,
    SpikeTrace,
    SynapseActivity,
    Uncounted,
    describe,
)
from ahsar_eval.recording.engine import FP32
from ahsar_eval.recording.execution import COMPILED, Difference, how_it_ran, say_how_far
from ahsar_eval.recording.perturbed import against_prediction
from ahsar_eval.recording.recorder import record

_FORMAT = 2
_DESCRIBED = ("split", "spec", "thresholds", "provenance")
_PARTS = {
    "layer": LayerActivity,
    "synapse": SynapseActivity,
    "operator": OperatorActivity,
    "trace": SpikeTrace,
}
_NESTED = {"model": NeuronModel, "geometry": Geometry}
# Arrays of a file that hold several of `Seen`, stacked; the last need not be there.
_SEEN = {
    "counts": ("nonzero", "fan_out_ops", "nonzero_fan_out_ops"),
    "values": ("total", "low", "high"),
    "flags": ("two_valued", "signed", "whole"),
}
_Arrays = dict[str, NDArray[Any]]
_Owned = dict[str, _Arrays]  # by owner, '' for the recording's own, and by field


def key_of_parts(parts: Mapping[str, Any]) -> str:
    """Hash of a JSON-ready description of everything that makes a recording."""
    return sha256_of(json.dumps(parts, sort_keys=True))


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording as `.npz`: arrays, and everything else as JSON in the array 'meta'. Raises
    `OutputError`.
    """
    arrays: dict[str, Any] = {
        name: value for name, value in vars(recording).items() if isinstance(value, np.ndarray)
    }
    meta: dict[str, Any] = {
        "format": _FORMAT,
        **{name: dict(getattr(recording, name)) for name in _DESCRIBED},
        "uncounted": [asdict(uncounted) for uncounted in recording.uncounted],
    }
    if recording.readout is not None:
        _taken_apart(recording.readout, "readout", arrays)
    for part in _PARTS:
        meta[f"{part}s"] = [
            _taken_apart(value, f"{part}{i}", arrays)
            for i, value in enumerate(getattr(recording, f"{part}s"))
        ]
    for i, trace in enumerate(recording.traces):
        for j, layer in enumerate(recording.layers):
            spikes = trace.spikes[layer.name]
            packed = np.packbits(spikes) if spikes.dtype == bool else spikes
            arrays[f"trace{i}.spikes{j}"] = packed
    meta["arrays"] = sorted(arrays)
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), dtype=np.uint8)
    with written_whole(path) as temporary, open(temporary, "wb") as writer:
        np.savez_compressed(writer, **arrays)


def load_recording(path: str | Path) -> Recording:
    """Read a recording. Raises `RecordingError` for a file that is none, is damaged or is of
    another format.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            meta = json.loads(archive["meta"].tobytes())
            if meta["format"] != _FORMAT:
                raise RecordingError(
                    f"{path} is a recording of format {meta['format']}; this version reads format "
                    f"{_FORMAT}; record again"
                )
            arrays: _Owned = defaultdict(dict)
            for name in meta["arrays"]:
                owner, _, field_name = name.rpartition(".")
                arrays[owner][field_name] = archive[name]
        return _put_together(meta, arrays)
    except RecordingError:
        raise
    except Exception as error:
        raise RecordingError(
            f"{path} is no readable recording ({type(error).__name__}); remove it and record again"
        ) from error


def _put_together(meta: dict[str, Any], arrays: _Owned) -> Recording:
    steps, layers = int(meta["spec"]["timesteps"]), enumerate(meta["layers"])
    unpack = [(layer["name"], f"spikes{j}", (steps, *layer["shape"])) for j, layer in layers]
    for i, facts in enumerate(meta["traces"]):
        own = arrays[f"trace{i}"]
        spikes = {name: _unpacked(own.pop(stored), shape) for name, stored, shape in unpack}
        facts["spikes"] = spikes
    values = {name: meta[name] for name in _DESCRIBED} | arrays[""]
    if "readout" in arrays:
        values["readout"] = Readout(**arrays["readout"])
    for part, kind in _PARTS.items():
        each = enumerate(meta[f"{part}s"])
        values[f"{part}s"] = tuple(_made(kind, facts, arrays, f"{part}{i}") for i, facts in each)
    return Recording(**values, uncounted=tuple(Uncounted(**one) for one in meta["uncounted"]))


def _taken_apart(part: Any, owner: str, arrays: _Arrays) -> Any:
    """A dataclass as JSON-ready facts, of `Seen` its number of elements; its arrays go to `arrays`,
    named `owner`.FIELD.
    """
    if isinstance(part, Seen):
        for stacked, names in _SEEN.items():
            held = [getattr(part, name) for name in names]
            arrays[f"{owner}.{stacked}"] = np.stack([one for one in held if one is not None])
        return part.elements
    facts: dict[str, Any] = {}
    for name, value in vars(part).items():
        if isinstance(value, np.ndarray):
            arrays[f"{owner}.{name}"] = value
        elif isinstance(value, Seen):
            facts["elements"] = _taken_apart(value, owner, arrays)
        elif name == "operands":
            each = enumerate(value)
            facts["elements"] = [_taken_apart(seen, f"{owner}.{i}", arrays) for i, seen in each]
        elif value is not None and name != "spikes":  # of a trace: stored by layer
            facts[name] = asdict(value) if name in _NESTED else value
    return facts


def _made(kind: Any, facts: Mapping[str, Any], arrays: _Owned, owner: str = "") -> Any:
    """The inverse: a `kind` of these facts and of the arrays of `owner`. JSON made lists of
    tuples.
    """
    values: dict[str, Any] = {}
    for name, value in facts.items():
        if name == "elements" and isinstance(value, list):
            each = enumerate(value)
            values["operands"] = tuple(_seen(size, arrays[f"{owner}.{i}"]) for i, size in each)
        elif name == "elements":
            values["seen"] = _seen(value, arrays[owner])
        elif name in _NESTED:
            values[name] = _made(_NESTED[name], value, {"": {}})
        else:
            values[name] = tuple(value) if isinstance(value, list) else value
    return kind(**values, **arrays[owner])


def _seen(elements: int, own: _Arrays) -> Seen:
    """Taken out of an owner's arrays."""
    held: dict[str, Any] = {"elements": elements}
    for stacked, names in _SEEN.items():
        held |= zip(names, own.pop(stacked), strict=False)
    return Seen(**held | {name: held[name].astype(np.float32) for name in ("low", "high")})


def _unpacked(stored: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Spikes of a trace: bits where a neuron fires at most once in a step, whole numbers as they
    are.
    """
    if stored.dtype != np.uint8:
        return stored
    return np.unpackbits(stored, count=math.prod(shape)).astype(bool).reshape(shape)


class RecordingStore:
    """A folder of recordings by key. A damaged file is as good as none; a folder that cannot be
    written stores nothing.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def find(self, key: str) -> Recording | None:
        """The recording of `key`, or None."""
        try:
            return None if self.folder is None else load_recording(self.folder / f"{key}.npz")
        except RecordingError:
            return None

    def keep(self, key: str, recording: Recording) -> None:
        """Store a recording. Warn once where the folder cannot be written, then continue without a
        cache.
        """
        if self.folder is None:
            return
        try:
            save_recording(recording, self.folder / f"{key}.npz")
        except OutputError as error:
            warnings.warn(
                f"recordings are not kept: {error}, or use --no-cache", AhsarWarning, stacklevel=2
            )
            self.folder = None


@dataclass(repr=False)
class Runner:
    """Records one checkpoint at one threshold setting. `scale` None replays the checkpoint's own
    thresholds.
    """

    checkpoint: Checkpoint
    scale: float | None = None
    model: str | None = None
    store: RecordingStore = field(default_factory=lambda: RecordingStore(None))
    batch_size: int = 64
    device: str = "cpu"
    engine: str = COMPILED
    precision: str = FP32
    input_kinds: Mapping[str, str] = field(default_factory=dict)
    recorded: int = 0  # passes made, as opposed to found
    # Split → how it was recorded, now or when it was stored.
    ran: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __repr__(self) -> str:
        return f"{self.checkpoint.name}, thresholds: {self.thresholds}"

    @property
    def thresholds(self) -> str:
        """What the thresholds are, for the reader of a table: 'replay', 'base' where there is
        nothing to replay, or a factor.
        """
        if self.scale is not None:
            return f"scale {self.scale:g}"
        return "replay" if self.checkpoint.replays else "base"

    @cached_property
    def network(self) -> SpikingNet:
        """The network with its thresholds written, built when it is first needed."""
        return network_of(self.checkpoint, scale=self.scale, model=self.model)

    @cached_property
    def _pushing(self) -> SpikingNet:
        """A copy that makes ODIN's inputs: the hooks that count a recording's pass must not see the
        passes that make its input.
        """
        return network_of(self.checkpoint, scale=self.scale, model=self.model)

    @property
    def view(self) -> View:
        """What the network takes: shape, and for event recordings time steps and framing."""
        spec = self.checkpoint.spec
        return View(spec.input_shape, spec.timesteps, spec.framing)

    def at_scale(self, scale: float | None) -> "Runner":
        """The same checkpoint at another threshold setting."""
        return replace(self, scale=scale, recorded=0, ran={})

    def recording(
        self, split: Split, *, trace: tuple[int, ...] = (), extras: Collection[str] = ()
    ) -> Recording:
        """The recording of `split`, holding the full spikes of the samples `trace` and the `extras`
        that are named (see `record`).

        A stored one that lacks some of them is made again with what it had and what is asked for.
        """
        found = self._stored(split)
        traced = {kept.index for kept in found.traces} if found else set()
        kept = found.extras if found else frozenset()
        who = f"{split.name} with {self.checkpoint.name}"
        if found is not None and traced.issuperset(trace) and kept.issuperset(extras):
            say(f"found the recording of {who}")
            how, precision = found.provenance, found.provenance["precision"]
            if precision != FP32:
                say_how_far(split.name, precision, Difference(**how["engine_difference"]))
        else:
            start = time.perf_counter()
            found = record(
                self.network,
                split,
                batch_size=self.batch_size,
                device=self.device,
                trace=sorted(traced.union(trace)),
                input_kinds=self.input_kinds,
                engine=self.engine,
                precision=self.precision,
                extras=sorted(kept.union(extras)),
            )
            self.recorded += 1
            took = time.perf_counter() - start
            say(f"recorded {who}: {len(split):,} samples in {took:.1f} s")
            self.store.keep(self.key(split), found)
        self.ran[split.name] = how_it_ran(found.provenance)
        return found

    def traced(self, split: Split, sample: int) -> tuple[Recording, SpikeTrace]:
        """Full spikes of one sample and the recording they stand in: an earlier pass that kept
        them, or one of the sample alone.
        """
        found = self._stored(split)
        if found is not None and any(kept.index == sample for kept in found.traces):
            return found, found.trace(sample)
        alone = self.recording(split.only(sample), trace=(0,))
        return alone, alone.trace(0)

    def _stored(self, split: Split) -> Recording | None:
        """The stored recording of the same samples, under the name and with the classes that the
        set has now: its file may have been called otherwise.
        """
        found = self.store.find(self.key(split))
        return None if found is None else replace(found, split=describe(split))

    def perturbed(self, split: Split) -> Split:
        """`split` after ODIN's step against this network, which costs a forward and a backward pass
        when it is read.

        Raises `RecordingError` for a network without a gradient to its input.
        """
        net = self._pushing
        identity = sha256_of(
            self.checkpoint.identity, str(read_thresholds(net.backbone)), network_identity(net)
        )
        return against_prediction(
            net, split, identity=identity, batch_size=self.batch_size, device=self.device
        )

    def facts(self) -> dict[str, Any]:
        """What a result says of the checkpoint and of how its network ran; `ran` by the splits
        recorded so far.
        """
        return {
            "name": self.checkpoint.name,
            "sha256": self.checkpoint.sha256,
            "method": self.checkpoint.method,
            "thresholds": self.thresholds,
            "engine": self.engine,
            "precision": self.precision,
            "ran": self.ran,
        }

    def asked(self, splits: Sequence[Split]) -> dict[str, Any]:
        """Everything that decides what recordings of these splits hold and what is said of them,
        JSON-ready.
        """
        said = [
            {**describe(split), "key": self.key(split), "batch_size": self.batch_size}
            for split in splits
        ]
        made_by = dict(self.checkpoint.provenance)
        return {**self.facts(), "ran": None, "provenance": made_by, "splits": said}

    def key(self, split: Split) -> str:
        """Hash of everything that makes the recording."""
        parts: dict[str, Any] = {
            "checkpoint": self.checkpoint.identity,
            "scale": self.scale,
            "thresholds": read_thresholds(self.network.backbone),
            "network_source": network_identity(self.network),
            "spec": self.checkpoint.spec.to_dict(),
            "split": split.identity,
            "input_kinds": dict(self.input_kinds),
            "device": self.device,
            "engine": self.engine,
            "precision": self.precision,
            # On a CPU no bit depends on the batch size; elsewhere that is not proven.
            "batch_size": None if self.device == "cpu" else self.batch_size,
            "threads": torch.get_num_threads(),
            "processor": processor(),
            "versions": versions(),
            "code": code_digest(),
        }
        return key_of_parts(parts)
