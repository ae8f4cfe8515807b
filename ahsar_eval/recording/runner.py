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
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, is_dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ahsar_eval.data import Split, View
from ahsar_eval.errors import AhsarWarning, OutputError, RecordingError
from ahsar_eval.files import sha256_of, written_whole
from ahsar_eval.homeostasis import named_neurons, read_thresholds
from ahsar_eval.homeostasis.thresholds import check_any, check_scalable
from ahsar_eval.networks import SpikingNet, network_identity
from ahsar_eval.networks.behaviour import Behaviour
from ahsar_eval.networks.checkpoints import Checkpoint, network_of
from ahsar_eval.process import say
from ahsar_eval.provenance import code_digest, processor, versions
from ahsar_eval.recording import activity
from ahsar_eval.recording.activity import Recording, SpikeTrace, describe
from ahsar_eval.recording.adaptation import CONTINUAL, Adaptation, record_adapted
from ahsar_eval.recording.engine import FP32
from ahsar_eval.recording.execution import COMPILED, Difference, how_it_ran, say_how_far
from ahsar_eval.recording.perturbed import against_prediction
from ahsar_eval.recording.recorder import record

# What JSON has no word for; no layer's name begins with a dot, so none is taken for one of these.
_ARRAY, _KIND = ".array", ".kind"
_KINDS: dict[str, Any] = {name: kind for name, kind in vars(activity).items() if is_dataclass(kind)}


def key_of_parts(parts: Mapping[str, Any]) -> str:
    """Hash of a JSON-ready description of everything that makes a recording."""
    return sha256_of(json.dumps(parts, sort_keys=True))


def save_recording(recording: Recording, path: str | Path) -> None:
    """Write a recording as `.npz`: the values of all arrays of a type in one, which is many times
    faster than one by one, and everything else as JSON in the array 'meta'. Raises `OutputError`.
    """
    flat: dict[str, list[NDArray[Any]]] = defaultdict(list)

    def told(value: Any) -> dict[str, Any]:
        """Where the values of an array lie; a dataclass by its name and fields."""
        if isinstance(value, np.ndarray):
            own = flat[value.dtype.name]
            place = {_ARRAY: value.dtype.name, "start": sum(map(len, own)), "shape": value.shape}
            own.append(value.ravel())
            return place
        return {_KIND: type(value).__name__, **vars(value)}

    meta = json.dumps(recording, default=told).encode()
    with written_whole(path) as temporary, open(temporary, "wb") as writer:
        joined: Any = {name: np.concatenate(own) for name, own in flat.items()}
        np.savez_compressed(writer, meta=np.frombuffer(meta, np.uint8), **joined)


def load_recording(path: str | Path) -> Recording:
    """Read a recording. Raises `RecordingError` for a file that is none, is damaged or was written
    by another version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            flat = dict(archive)

        def made(told: dict[str, Any]) -> Any:
            """The inverse of `told`; JSON made lists of a dataclass's tuples."""
            if _ARRAY in told:
                start, shape = told["start"], told["shape"]
                return flat[told[_ARRAY]][start : start + math.prod(shape)].reshape(shape)
            if _KIND not in told:
                return told
            kind = _KINDS[told.pop(_KIND)]
            return kind(**{n: tuple(v) if isinstance(v, list) else v for n, v in told.items()})

        found = json.loads(flat["meta"].tobytes(), object_hook=made)
        if not isinstance(found, Recording):
            raise TypeError
    except Exception as error:
        raise RecordingError(
            f"{path} is no readable recording ({type(error).__name__}); remove it and record again"
        ) from error
    return found


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
    adaptation: Adaptation | None = None  # at test time
    left: Mapping[str, Any] | None = None  # the state after the last set of a stream
    recorded: int = 0  # passes made, as opposed to found
    # Split → how it was recorded, now or when it was stored.
    ran: dict[str, dict[str, Any]] = field(default_factory=dict)
    # How a user's network is called: found once for all threshold settings.
    behaviour: list[Behaviour] = field(default_factory=list)

    def __repr__(self) -> str:
        return f"{self.checkpoint.name}, thresholds: {self.thresholds}"

    @property
    def thresholds(self) -> str:
        """What the thresholds are, for the reader of a table: 'replay', 'base' where there is
        nothing to replay, or a factor.
        """
        adapted = self.adaptation and self.adaptation.told()
        if self.scale is not None:
            scale = f"scale {self.scale:g}"
            return f"{scale}, {adapted}" if adapted else scale
        return adapted or ("replay" if self.checkpoint.replays else "base")

    @cached_property
    def network(self) -> SpikingNet:
        """The network with its thresholds written, built when it is first needed."""
        return self._built()

    @cached_property
    def _pushing(self) -> SpikingNet:
        """A copy that makes ODIN's inputs: the hooks that count a recording's pass must not see the
        passes that make its input.
        """
        return self._built()

    def _built(self) -> SpikingNet:
        known = next(iter(self.behaviour), None)
        net = network_of(self.checkpoint, scale=self.scale, model=self.model, behaviour=known)
        if known is None and net.found is not None:
            self.behaviour.append(net.found)
        return net

    def check_scales(self, scales: Iterable[float | None]) -> None:
        """Raise `HomeostasisError` where one of these factors (None: the replay) cannot be put on
        the network's thresholds.
        """
        layers = named_neurons(self.network.backbone)
        for scale in scales:
            if scale not in (None, 1.0):
                check_any(layers, scale)
                check_scalable(self.network.backbone, layers)

    @property
    def view(self) -> View:
        """What the network takes: shape, and for event recordings time steps and framing."""
        spec = self.checkpoint.spec
        return View(spec.input_shape, spec.timesteps, spec.framing)

    def at_scale(self, scale: float | None) -> "Runner":
        """The same checkpoint at another threshold setting."""
        return replace(self, scale=scale, recorded=0, ran={})

    def adapted(self, adaptation: Adaptation | None) -> "Runner":
        """The same network, adapting at test time, or not; it is built once for all of them."""
        made = replace(self, adaptation=adaptation, left=None, recorded=0, ran={})
        vars(made)["network"] = self.network
        return made

    def adapting_to(self, split: Split) -> Adaptation | None:
        """How it adapts when it records `split`: in an episode to a set with a pool alone."""
        found = self.adaptation
        return found if found is not None and (found.streams or split.pool is not None) else None

    @property
    def _carried(self) -> Mapping[str, Any] | None:
        """The state that the next set begins with, in a stream without reset."""
        continual = self.adaptation is not None and self.adaptation.protocol == CONTINUAL
        return self.left if continual else None

    def recording(
        self, split: Split, *, trace: tuple[int, ...] = (), extras: Collection[str] = ()
    ) -> Recording:
        """The recording of `split`, holding the full spikes of the samples `trace` and the `extras`
        that are named (see `record`).

        A stored one that lacks some of them is made again with what it had and what is asked for.
        """
        found, adaptation = self._stored(split), self.adapting_to(split)
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
            settings: dict[str, Any] = {
                "batch_size": self.batch_size,
                "device": self.device,
                "trace": sorted(traced.union(trace)),
                "input_kinds": self.input_kinds,
                "engine": self.engine,
                "precision": self.precision,
                "extras": sorted(kept.union(extras)),
            }
            if adaptation is None:
                found = record(self.network, split, **settings)
            else:
                found = record_adapted(
                    self.network, split, adaptation, start=self._carried, **settings
                )
            self.recorded += 1
            unscaled = [one.name for one in found.layers if one.name not in found.thresholds]
            if self.scale not in (None, 1.0) and unscaled:
                warnings.warn(
                    f"{self.checkpoint.name}: the factor {self.scale:g} is not put on layers "
                    f"without a v_threshold ({', '.join(unscaled)})",
                    AhsarWarning,
                    stacklevel=2,
                )
            took = time.perf_counter() - start
            say(f"recorded {who}: {len(split):,} samples in {took:.1f} s")
            self.store.keep(self.key(split), found)
        self.ran[split.name] = how_it_ran(found.provenance)
        if adaptation is not None and adaptation.streams:
            self.left = found.provenance["adaptation"]["state"]
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
            **({"adaptation_state": self.left} if self.left is not None else {}),
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
        facts = {**self.facts(), "adaptation_state": None, "ran": None}
        return {**facts, "provenance": made_by, "splits": said}

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
        if (adaptation := self.adapting_to(split)) is not None:
            parts["adaptation"] = adaptation.parts(split, self._carried)
        return key_of_parts(parts)
