"""Return a recording, from the cache if there is one."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from ahsar_eval.data import Split, View
from ahsar_eval.files import sha256_of
from ahsar_eval.homeostasis import read_thresholds
from ahsar_eval.networks import SpikingNet, network_identity
from ahsar_eval.networks.checkpoints import Checkpoint, network_of
from ahsar_eval.process import say
from ahsar_eval.provenance import code_digest, processor, versions
from ahsar_eval.recording import (
    Recording,
    RecordingStore,
    SpikeTrace,
    against_prediction,
    describe,
    key_of_parts,
    record,
)
from ahsar_eval.recording.engine import FP32
from ahsar_eval.recording.execution import COMPILED, Difference, how_it_ran, say_how_far


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
    _net: SpikingNet | None = None
    _pushing: SpikingNet | None = None  # a copy that makes ODIN's inputs

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

    @property
    def network(self) -> SpikingNet:
        """The network with its thresholds written, built when it is first needed."""
        if self._net is None:
            self._net = network_of(self.checkpoint, scale=self.scale, model=self.model)
        return self._net

    @property
    def view(self) -> View:
        """What the network takes: shape, and for event recordings time steps and framing."""
        spec = self.checkpoint.spec
        return View(spec.input_shape, spec.timesteps, spec.framing)

    def at_scale(self, scale: float | None) -> "Runner":
        """The same checkpoint at another threshold setting."""
        return replace(self, scale=scale, _net=None, _pushing=None, recorded=0, ran={})

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
            how = how_it_ran(found.provenance)
            if how["precision"] != FP32:
                say_how_far(split.name, how["precision"], Difference(**how["engine_difference"]))
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
        """The recording of the same samples in the store, under the name and with the classes that
        the set has now: it may have been made of a file that was called otherwise."""
        found = self.store.find(self.key(split))
        return None if found is None else replace(found, split=describe(split))

    def perturbed(self, split: Split) -> Split:
        """`split` after ODIN's step against this network, which costs a forward and a backward pass
        when it is read.

        Raises `RecordingError` for a network without a gradient to its input.
        """
        # A copy: the hooks that count a recording's pass must not see the passes that make its
        # input.
        if self._pushing is None:
            self._pushing = network_of(self.checkpoint, scale=self.scale, model=self.model)
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
        facts = {name: value for name, value in self.facts().items() if name != "ran"}
        said = [
            {**describe(split), "key": self.key(split), "batch_size": self.batch_size}
            for split in splits
        ]
        return {**facts, "provenance": dict(self.checkpoint.provenance), "splits": said}

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
