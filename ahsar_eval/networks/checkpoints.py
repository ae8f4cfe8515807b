"""Checkpoints: the format, saving, loading with nothing that can execute, and the network with its
thresholds written.

A checkpoint holds plain tensors and JSON only (docs/checkpoints.md): format and version,
`ModelSpec`, weights, the controller or none, a fixed threshold factor, provenance. A NIR file of
other tools stands wherever a checkpoint does.
"""

import copy
import json
import math
import pickle
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.errors import (
    AhsarWarning,
    CheckpointError,
    HomeostasisError,
    ModelError,
    misread,
)
from ahsar_eval.files import sha256_of, sha256_of_file, shipped, written_whole
from ahsar_eval.homeostasis import (
    Homeostasis,
    controllers_of,
    named_neurons,
    plain_thresholds,
    read_thresholds,
    write_thresholds,
)
from ahsar_eval.homeostasis.regulation import SetPoints
from ahsar_eval.homeostasis.thresholds import check_any
from ahsar_eval.networks.backbones import build
from ahsar_eval.networks.behaviour import Behaviour, uncompiled
from ahsar_eval.networks.network import ModelSpec, NirSettings, SpikingNet
from ahsar_eval.networks.weights import (
    Found,
    fitted,
    found_in,
    from_rate_bp,
    read_file,
    tensors_of,
    unread_in,
)

FORMAT = "ahsar-eval checkpoint"
VERSION = 1
# An older toolkit must refuse such a file rather than evaluate it without them.
VERSION_OF_LAYER_SCALES = 2
_STATE_DICT = "state dict"
_HDF5 = b"\x89HDF\r\n\x1a\n"  # how a NIR file begins
# ID set → the shipped networks that were trained for it, but for their method.
_PAIRS = {
    "cifar10-mini": "cifar10-jpeg-vgg13",
    "n-mnist-mini": "n-mnist-vgg13",
    "n-mnist": "n-mnist-vgg13",
    "digits-dvs": "digits-dvs-vgg13",
}


def set_points_beside(path: Path) -> Path:
    """Where the set points of a checkpoint lie that holds none: beside it, as `calibrate` writes
    them.
    """
    return path.with_name(f"{path.stem}.setpoints.json")


def default_pair(data: str | None) -> tuple[str, str]:
    """The shipped networks where none is named: those of the ID set `data`, of the digits for any
    other.
    """
    network = _PAIRS.get(str(data), "digits-vgg13")
    return f"{network}-baseline", f"{network}-ahsar"


@dataclass(frozen=True)
class Checkpoint:
    """A trained network: specification, weights, controller (None for a baseline), fixed threshold
    factor, provenance.
    """

    spec: ModelSpec
    weights: Mapping[str, Tensor]
    homeostasis: Homeostasis | None = None
    fixed_scale: float = 1.0  # constant factor on every threshold, for training at fixed:S
    provenance: Mapping[str, Any] = field(default_factory=dict)
    name: str = "checkpoint"
    sha256: str = ""  # of the file it was read from
    path: Path | None = field(default=None, repr=False, compare=False)
    module: nn.Module | None = field(default=None, repr=False)  # a live network, which is copied
    # layer → constant factor in its place, of frozen:CKPT
    layer_scales: Mapping[str, float] = field(default_factory=dict)
    # Its rates on the hold-out of its training, which homeostasis at test time goes for.
    set_points: SetPoints | None = field(default=None, repr=False)

    @property
    def identity(self) -> str:
        """Hash of the file it was read from; of its content where it was never saved."""
        if self.sha256:
            return self.sha256
        content = _content(self)
        del content["provenance"]  # when and by which command says nothing of what it computes
        content.pop("set_points", None)
        weights = [
            part
            for name, tensor in content.pop("weights").items()
            for part in (name, str(tensor.dtype), tensor.double().numpy().tobytes())
        ]
        return sha256_of(json.dumps(content), *weights)

    @property
    def is_nir(self) -> bool:
        """Whether it is the network of a NIR file, which is then its `module`."""
        return self.provenance.get("format") == "NIR"

    @property
    def is_foreign(self) -> bool:
        """Whether its weights are another tool's, which say nothing of their network."""
        return self.provenance.get("format") == _STATE_DICT

    @property
    def replays(self) -> bool:
        """Whether evaluation runs with other than the base thresholds: a controller's scales,
        frozen ones, or a fixed factor.
        """
        return bool(self.scales) or self.fixed_scale != 1

    @property
    def scales(self) -> Mapping[str, float]:
        """Layer → factor of its own: a controller's, or frozen ones; nothing for others."""
        return self.homeostasis.replayed_scales() if self.homeostasis else self.layer_scales

    @property
    def method(self) -> str:
        """How it was trained, as `train --method` names it; 'unknown' for any other state dict."""
        return str(self.provenance.get("method", "unknown"))

    @property
    def trained_on(self) -> str | None:
        """Name of the set it was trained on, if known."""
        known = self.provenance.get("data")
        return None if known is None else str(known)


def set_points_of(checkpoint: Checkpoint, given: Any = ()) -> SetPoints | None:
    """Set points of this network among those that are `given`, themselves or by their file, one or
    several; where none is given those in the checkpoint, else those that lie beside it; None where
    there are none. Raises `HomeostasisError` where all of them are another network's.
    """
    several = given if isinstance(given, (list, tuple)) else () if given is None else (given,)
    if not several and checkpoint.set_points is not None:
        return checkpoint.set_points
    if not several:
        if checkpoint.path is None or not set_points_beside(checkpoint.path).is_file():
            return None
        several = (set_points_beside(checkpoint.path),)
    for one in several:
        if not isinstance(one, (str, Path, SetPoints)):
            raise HomeostasisError(
                f"the set points are a {type(one).__name__}; expected what ahsar_eval.calibrate "
                "gives, or the path of a file of ahsar-eval calibrate"
            )
        found = one if isinstance(one, SetPoints) else SetPoints.load(one)
        if found.network in ("", checkpoint.identity):  # "" in a script, by Ahsar.measure
            return found
    held = "these are" if several[0] is found else f"{several[0]} holds"
    raise HomeostasisError(
        f"{held} the set points of another network than {checkpoint.name}, or of other weights of "
        "it; make them with ahsar-eval calibrate"
    )


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint, whole or not at all. Raises `OutputError`, and `CheckpointError` for the
    network of a NIR file.
    """
    if checkpoint.is_nir:
        raise CheckpointError(
            f"{checkpoint.name} is the network of a NIR file, which holds all of it; copy that file"
        )
    with written_whole(path) as temporary:
        torch.save(_content(checkpoint), temporary)


def _content(checkpoint: Checkpoint) -> dict[str, Any]:
    weights = {name: tensor.detach().cpu().clone() for name, tensor in checkpoint.weights.items()}
    content = {
        "format": FORMAT,
        "version": VERSION_OF_LAYER_SCALES if checkpoint.layer_scales else VERSION,
        "spec": checkpoint.spec.to_dict(),
        "weights": weights,
        "homeostasis": None if checkpoint.homeostasis is None else checkpoint.homeostasis.to_dict(),
        "fixed_scale": checkpoint.fixed_scale,
        "provenance": json.loads(json.dumps(dict(checkpoint.provenance))),
    }
    if checkpoint.layer_scales:
        content["layer_scales"] = dict(checkpoint.layer_scales)
    if checkpoint.set_points is not None:
        content["set_points"] = checkpoint.set_points.to_dict()
    return content


def find_checkpoint(name: str | Path) -> Path:
    """The file of a path, or of a shipped checkpoint's name. Raises `CheckpointError` that lists
    the shipped ones.
    """
    path, known = Path(name).expanduser(), shipped("checkpoints", ".pt")
    if path.is_file():
        return path
    if str(name) in known:
        return known[str(name)]
    raise CheckpointError(
        f"no checkpoint {str(name)!r}: it is no file, and none of the shipped ones "
        f"({', '.join(known) or 'none'})"
    )


def load_checkpoint(
    name: str | Path,
    *,
    external_spec: Callable[[], ModelSpec] | None = None,
    layout: str | None = None,
    key: str | None = None,
    nir: NirSettings | None = None,
) -> Checkpoint:
    """Read a checkpoint by path or shipped name; nothing in the file is executed.

    Weights of another project load only with `external_spec`, which is asked what network they
    fill: a state dict, plain or under any key of the file (`key` names it where several fit), under
    names to which wrappers added; what was done to them stands in the provenance, with a warning.
    A controller's state beside them under the key `ahsar` is taken along. `layout` 'rate-bp'
    translates the names of the public rate-based-backpropagation code to those of our
    backbones. A NIR file needs `nir`, which adds what such a file does not say. Raises
    `CheckpointError` for anything that is not a readable, finite checkpoint matching its network;
    the message names the first missing, unexpected or misshapen tensor.
    """
    path = find_checkpoint(name)
    is_nir = _is_nir(path)
    try:
        if is_nir:
            from ahsar_eval.networks.nir_network import read_nir

            spec, network, facts = read_nir(path, nir or NirSettings())
            checkpoint = Checkpoint(spec, network.state_dict(), provenance=facts, module=network)
        elif (content := read_file(path)).get("format") == FORMAT:
            checkpoint = _own(content)
        else:
            checkpoint = _external(content, external_spec, layout, key)
            if said := checkpoint.provenance.get("weights"):
                warnings.warn(f"{path.name}: {'; '.join(said)}", AhsarWarning, stacklevel=2)
        for tensor_name, tensor in checkpoint.weights.items():
            # An infinite threshold makes a neuron a read-out.
            finite = ~tensor.isnan() if tensor_name.endswith("v_threshold") else tensor.isfinite()
            if not bool(finite.all()):
                raise CheckpointError(
                    f"it has a value that is not finite (NaN or Inf) in {tensor_name!r}; the "
                    "training diverged; use another one"
                )
    except (CheckpointError, ModelError, HomeostasisError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    sha256, points = sha256_of_file(path), checkpoint.set_points
    if points is not None:  # written before the file had a hash
        points = replace(points, network=sha256)
    return replace(checkpoint, name=path.stem, sha256=sha256, path=path, set_points=points)


@dataclass(frozen=True)
class WeightsOfOthers:
    """What a file of another tool holds: its sets of tensors by key, and what was left unread."""

    name: str
    sha256: str
    sets: tuple[Found, ...]
    unread: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: key → tensor → shape and type."""
        weights = {
            one.key: {
                name: {"shape": list(x.shape), "type": str(x.dtype).removeprefix("torch.")}
                for name, x in one.weights.items()
            }
            for one in self.sets
        }
        facts = {"checkpoint": self.name, "sha256": self.sha256}
        return {**facts, "weights": weights, "unread": dict(self.unread)}


def weights_of_others(name: str | Path) -> WeightsOfOthers | None:
    """What a file holds that is neither a checkpoint of ahsar-eval nor a NIR file; else None.
    Raises `CheckpointError`.
    """
    path = find_checkpoint(name)
    if _is_nir(path):
        return None
    try:
        content = read_file(path)
        if content.get("format") == FORMAT:
            return None
        sets, unread = tuple(found_in(content)), dict(unread_in(content))
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return WeightsOfOthers(path.stem, sha256_of_file(path), sets, unread)


def _is_nir(path: Path) -> bool:
    try:
        with open(path, "rb") as reader:
            return path.suffix.lower() == ".nir" or reader.read(len(_HDF5)) == _HDF5
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error


def _own(content: Mapping[str, Any]) -> Checkpoint:
    for place, kind in unread_in(content):
        raise CheckpointError(
            f"{place} in it asks to run code when it is opened ({kind}); it was not made; expected "
            "plain tensors and numbers"
        )
    version = content.get("version")
    if version not in (VERSION, VERSION_OF_LAYER_SCALES):
        raise CheckpointError(
            f"the version is {version}; this version of ahsar-eval reads {VERSION} and "
            f"{VERSION_OF_LAYER_SCALES}; update ahsar-eval"
        )
    with misread(CheckpointError, "it lacks a part of a checkpoint", "save it again"):
        stored = content["homeostasis"]
        listed = content["layer_scales"] if version == VERSION_OF_LAYER_SCALES else {}
        points = content.get("set_points")
        checkpoint = Checkpoint(
            ModelSpec.from_dict(content["spec"]),
            tensors_of(content["weights"]),
            None if stored is None else Homeostasis.from_dict(stored),
            float(content["fixed_scale"]),
            layer_scales={str(layer): float(scale) for layer, scale in listed.items()},
            provenance=dict(content["provenance"]),
            set_points=None if points is None else SetPoints.from_dict(points),
        )
    for factor in (checkpoint.fixed_scale, *checkpoint.layer_scales.values()):
        if not 0 < factor < math.inf:
            raise CheckpointError(
                f"it has a threshold factor of {factor}; expected a positive number; save it again"
            )
    return checkpoint


def _external(
    content: Mapping[str, Any],
    spec: Callable[[], ModelSpec] | None,
    layout: str | None,
    key: str | None,
) -> Checkpoint:
    if spec is None:
        raise CheckpointError(
            "it is no checkpoint of ahsar-eval, and a plain state dict says nothing of its "
            "network; evaluate that with --model package.module:function --timesteps T (or "
            "--layout rate-bp --backbone NAME), or train with ahsar-eval"
        )
    asked, stored, sets = spec(), content.get("ahsar"), found_in(content)
    if layout is not None:
        sets = from_rate_bp(asked.backbone, sets)
        last = sets[0].weights.get("linear.weight", torch.empty(0))
        asked = replace(asked, width=last.shape[1] / 512 if last.dim() == 2 and len(last) else 1.0)
    found = fitted(sets, build(asked).backbone.state_dict(), key)
    homeostasis = Homeostasis.from_dict(stored) if isinstance(stored, Mapping) else None
    unread = [f"{place} is left unread (a {kind})" for place, kind in unread_in(content)]
    said = [*found.done, *unread]
    facts = {"format": _STATE_DICT, **({"weights": said} if said else {})}
    return Checkpoint(asked, found.weights, homeostasis, provenance=facts)


def network_of(
    checkpoint: Checkpoint,
    *,
    scale: float | None = None,
    model: str | None = None,
    called: bool = True,
    behaviour: Behaviour | None = None,
) -> SpikingNet:
    """The checkpoint's network in evaluation mode with its thresholds written.

    By default every threshold is base × EMA scale (base × its constant factor for fixed:S and
    frozen:CKPT): the replay of paper 5.1. `scale` replaces the replay: v_th = scale · base in every
    layer. A network of the user's own needs `model`, since a file must not choose code to run; how
    it is called is found, and said, where it is to be `called`; `behaviour` was found before.
    Raises `CheckpointError` when weights and network do not fit, naming the leaf.
    """
    spec = checkpoint.spec
    if checkpoint.module is not None:
        functional.reset_net(checkpoint.module)  # what its last run left in it is not copied
        net = SpikingNet(uncompiled(_copy_of(checkpoint.module)), spec)
        for controller in controllers_of(net.backbone):
            controller.detach()  # what it replays stands in the checkpoint
    else:
        if spec.is_user_network:
            if model is None:
                raise CheckpointError(
                    f"{checkpoint.name} holds a network of your own; name its code again with "
                    f"--model {spec.backbone}"
                )
            spec = replace(spec, backbone=model)
        net = build(spec)
        try:
            found = fitted([Found("", checkpoint.weights)], net.backbone.state_dict())
        except CheckpointError as error:
            raise CheckpointError(
                f"{checkpoint.name} does not fit the network {spec.backbone} at width "
                f"{spec.width}: {error}"
            ) from None
        net.backbone.load_state_dict(found.weights)
    base = base_thresholds(checkpoint, net)
    check_any(base, checkpoint.fixed_scale if scale is None else scale)
    factors = replayed_scales(checkpoint, net) if scale is None else dict.fromkeys(base, scale)
    write_thresholds(net.backbone, base, factors)
    net.eval()
    if spec.is_user_network and called:
        if behaviour is None:
            _say_how(checkpoint.name, net.find_calls())
        else:
            net.calls_like(behaviour)
        _check_lasting(net, factors)
    return net


def _check_lasting(net: SpikingNet, factors: Mapping[str, float]) -> None:
    """Raise `HomeostasisError` for a factor on a threshold that the network itself writes."""
    kept = net.found and net.found.kept
    changed = kept.changed if kept else {}
    for name, neuron in named_neurons(net.backbone).items():
        if factors.get(name, 1) != 1 and "v_threshold" in changed.get(neuron, ()):
            raise HomeostasisError(
                f"the network writes the threshold of layer {name!r} while it runs, and a factor "
                f"on it, here {factors[name]:g}, would be lost; leave it as it is (no --scale, "
                "--no-replay), or keep what adapts beside v_threshold"
            )


def _copy_of(module: nn.Module) -> nn.Module:
    """A live module once more. Raises `ModelError` where it does not let itself be copied."""
    try:
        return copy.deepcopy(module)
    except Exception as error:
        fault = error
    try:  # some layers' own deep copies fail; what is read here was written here
        copied: nn.Module = pickle.loads(pickle.dumps(module))
    except Exception:
        reason = " ".join(str(fault).split())
        raise ModelError(
            f"the {type(module).__name__} cannot be copied ({type(fault).__name__}: {reason}), and "
            "a copy is what runs; save its weights, and give the function that makes it (--model)"
        ) from fault
    return copied


def _say_how(name: str, found: Behaviour) -> None:
    """What a user has to know of how a network of their own is run."""
    said = []
    if str(found.calls) not in ("TN/TN", "step/N"):
        said.append(f"the network is called as {found.calls.told()} (--calls {found.calls})")
    if found.keeps:
        more = f" and {len(found.keeps) - 3} more" if len(found.keeps) > 3 else ""
        said.append(
            f"it keeps state that reset_net does not reach ({', '.join(found.keeps[:3])}{more}), "
            "which is put back before every batch"
        )
    if found.chance:
        said.append(
            "its forward pass draws random numbers: samples run one by one, each from a seed that "
            "is its number's"
        )
    for sentence in said:
        warnings.warn(f"{name}: {sentence}", AhsarWarning, stacklevel=3)


def base_thresholds(checkpoint: Checkpoint, net: SpikingNet) -> dict[str, float | list[Any]]:
    """Layer → threshold before any scaling: as the controller saw it when it was attached, as built
    elsewhere.
    """
    base = plain_thresholds(net.backbone)
    if checkpoint.homeostasis is not None:
        base |= checkpoint.homeostasis.base_thresholds
    return base


def mean_factor(factors: Sequence[float]) -> float:
    """The mean over layers; one factor on all of them is given as it is, to the last bit."""
    return sum(factors) / len(factors) if len(set(factors)) > 1 else factors[0]


def replayed_scales(checkpoint: Checkpoint, net: SpikingNet) -> dict[str, float]:
    """Layer → the factor evaluation replays. Raises `CheckpointError` when a scale is of a layer
    the network lacks.
    """
    layers, scales = read_thresholds(net.backbone), checkpoint.scales
    for layer in scales:
        if layer not in layers:
            raise CheckpointError(
                f"{checkpoint.name} has a threshold scale for layer {layer!r}, which its network "
                f"lacks ({', '.join(layers)})"
            )
    return {layer: scales.get(layer, checkpoint.fixed_scale) for layer in layers}
