"""Checkpoints: the format, saving, loading with nothing that can execute, and the network with its
thresholds written.

A checkpoint holds plain tensors and JSON only (docs/checkpoints.md): format and version,
`ModelSpec`, weights, the controller or none, a fixed threshold factor, provenance. A NIR file of
other tools stands wherever a checkpoint does.
"""

import copy
import json
import marshal
import math
import pickle
import pickletools
import re
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.errors import CheckpointError, HomeostasisError, ModelError
from ahsar_eval.files import sha256_of, sha256_of_file, written_whole
from ahsar_eval.homeostasis import Homeostasis, read_thresholds, write_thresholds
from ahsar_eval.networks.backbones import build
from ahsar_eval.networks.network import ModelSpec, SpikingNet
from ahsar_eval.networks.nir_file import is_nir
from ahsar_eval.networks.nir_graph import NirPlan, NirSettings, build_nir, read_plan
from ahsar_eval.networks.rate_bp_keys import from_rate_bp, width_of_rate_bp

FORMAT = "ahsar-eval checkpoint"
VERSION = 1
# An older toolkit must refuse such a file rather than evaluate it without them.
VERSION_OF_LAYER_SCALES = 2
DEFAULT_PAIR = ("digits-vgg13-baseline", "digits-vgg13-ahsar")


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
    module: nn.Module | None = field(default=None, repr=False)  # a live network, which is copied
    nir: NirPlan | None = None  # the graph of a NIR file, from which its network is built
    # layer → constant factor in its place, of frozen:CKPT
    layer_scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Hash of the file it was read from; of its content where it was never saved."""
        if self.sha256:
            return self.sha256
        weights = [
            part
            for name, tensor in self.weights.items()
            for part in (name, str(tensor.dtype), tensor.detach().cpu().double().numpy().tobytes())
        ]
        controller = "" if self.homeostasis is None else json.dumps(self.homeostasis.to_dict())
        scales = [json.dumps(dict(self.layer_scales))] if self.layer_scales else []
        return sha256_of(
            *weights, controller, repr(self.fixed_scale), json.dumps(self.spec.to_dict()), *scales
        )

    @property
    def replays(self) -> bool:
        """Whether evaluation runs with other than the base thresholds: a controller's scales,
        frozen ones, or a fixed factor.
        """
        return self.has_scales or self.fixed_scale != 1

    @property
    def has_scales(self) -> bool:
        """Whether each layer has a factor of its own: a controller's, or frozen ones."""
        return self.homeostasis is not None or bool(self.layer_scales)

    @property
    def method(self) -> str:
        """How it was trained, as `train --method` names it; 'unknown' for any other state dict."""
        return str(self.provenance.get("method", "unknown"))

    @property
    def trained_on(self) -> str | None:
        """Name of the set it was trained on, if known."""
        known = self.provenance.get("data")
        return None if known is None else str(known)


def save_checkpoint(checkpoint: Checkpoint, path: str | Path) -> None:
    """Write a checkpoint, whole or not at all. Raises `OutputError`, and `CheckpointError` for the
    network of a NIR file.
    """
    if checkpoint.nir is not None:
        raise CheckpointError(
            f"{checkpoint.name} is the network of a NIR file, which holds all of it; copy that file"
        )
    content = {
        "format": FORMAT,
        "version": VERSION_OF_LAYER_SCALES if checkpoint.layer_scales else VERSION,
        "spec": checkpoint.spec.to_dict(),
        "weights": {
            name: tensor.detach().cpu().clone() for name, tensor in checkpoint.weights.items()
        },
        "homeostasis": None if checkpoint.homeostasis is None else checkpoint.homeostasis.to_dict(),
        "fixed_scale": checkpoint.fixed_scale,
        "provenance": json.loads(json.dumps(dict(checkpoint.provenance))),
    }
    if checkpoint.layer_scales:
        content["layer_scales"] = dict(checkpoint.layer_scales)
    with written_whole(path) as temporary:
        torch.save(content, temporary)


def shipped_folder() -> Path:
    """Where the checkpoints that ship with the package lie: inside the wheel, or beside the package
    in a clone.
    """
    package = Path(__file__).parent.parent
    inside = package / "_checkpoints"
    return inside if inside.is_dir() else package.parent / "checkpoints"


def shipped_names() -> list[str]:
    """Names of the shipped checkpoints."""
    return sorted(path.stem for path in shipped_folder().glob("*.pt"))


def find_checkpoint(name: str | Path) -> Path:
    """The file of a path, or of a shipped checkpoint's name. Raises `CheckpointError` that lists
    the shipped ones.
    """
    path = Path(name).expanduser()
    if path.is_file():
        return path
    shipped = shipped_folder() / f"{path.name}.pt"
    if path.name == str(name) and shipped.is_file():
        return shipped
    if path.is_dir():
        raise CheckpointError(f"{str(name)!r} is a folder; give the path of a checkpoint file")
    raise CheckpointError(
        f"no checkpoint {str(name)!r}: no such file, and none of the shipped ones "
        f"({', '.join(shipped_names()) or 'none'})"
    )


def load_checkpoint(
    name: str | Path,
    *,
    external_spec: Callable[[], ModelSpec] | None = None,
    layout: str | None = None,
    nir: NirSettings | None = None,
) -> Checkpoint:
    """Read a checkpoint by path or shipped name; nothing in the file is executed.

    A plain state dict of another project loads only with `external_spec`, which is asked what
    network it fills; a controller's state beside it under the key `ahsar` is taken along. `layout`
    'rate-bp' translates the names of the public rate-based-backpropagation code to those of our
    backbones. A NIR file needs `nir`, which adds what such a file does not say. Raises
    `CheckpointError` for anything that is not a readable, finite checkpoint matching its network;
    the message names the first missing, unexpected or misshapen tensor.
    """
    path = find_checkpoint(name)
    if is_nir(path):
        return _of_nir(path, nir or NirSettings())
    content = _read(path)
    digest = sha256_of_file(path)
    if not isinstance(content, dict):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; expected a checkpoint of ahsar-eval or a "
            "state dict"
        )
    checkpoint = (
        _own(content, path)
        if content.get("format") == FORMAT
        else _external(content, path, external_spec, layout)
    )
    checkpoint = replace(checkpoint, name=path.stem, sha256=digest)
    for tensor_name, tensor in checkpoint.weights.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(
                f"{path} has a value that is not finite (NaN or Inf) in {tensor_name!r}; the "
                "training diverged; use another one"
            )
    return checkpoint


def _read(path: Path) -> Any:
    try:
        with open(path, "rb") as reader:
            start = reader.read(64)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    if not start:
        raise CheckpointError(f"{path} is empty; expected a checkpoint")
    code, reason, advice = None, "", ""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|class|global:?)\s+([A-Za-z_][\w.]+\.[\w]+)", str(error))
        code = named.group(1) if named else _named_code(path)
    except Exception as error:
        reason, advice = f" ({type(error).__name__})", "; copy it again"
    if code:
        raise CheckpointError(
            f"{path} asks to run code when it is opened ({code}); it was not opened further; "
            "expected plain tensors and numbers (save a state_dict, not a module)"
        )
    raise CheckpointError(
        f"{path} is no checkpoint: {_looks_like(path, start)}{reason}; expected a file written by "
        f"torch.save{advice}"
    )


def _named_code(path: Path) -> str | None:
    """The first function or class that a plain pickle names, read without running it; None for any
    other file.
    """
    named, texts = None, ["", ""]
    try:
        for opcode, argument, _ in pickletools.genops(path.read_bytes()):
            if opcode.name in ("GLOBAL", "INST"):
                named = named or str(argument).replace(" ", ".")
            elif opcode.name == "STACK_GLOBAL":
                named = named or ".".join(texts[-2:])
            elif isinstance(argument, str):
                texts.append(argument)
    except (ValueError, IndexError):
        return None  # it does not end as a pickle does
    return named


def _looks_like(path: Path, start: bytes) -> str:
    if start[:2] == b"PK":
        if zipfile.is_zipfile(path):
            return "it is damaged, or an archive of something else"
        return "it is truncated or damaged"
    is_text = all(byte in b"\t\n\r\f" or 32 <= byte < 127 or byte >= 128 for byte in start)
    if is_text and start[:1] != b"\x80":
        return "it looks like text"
    return "it is truncated, or of another kind"


def _own(content: dict[str, Any], path: Path) -> Checkpoint:
    version = content.get("version")
    if version not in (VERSION, VERSION_OF_LAYER_SCALES):
        raise CheckpointError(
            f"{path} is a checkpoint of version {version}; this version of ahsar-eval reads "
            f"{VERSION} and {VERSION_OF_LAYER_SCALES}; update ahsar-eval"
        )
    try:
        spec = ModelSpec.from_dict(content["spec"])
        stored = content["homeostasis"]
        homeostasis = None if stored is None else Homeostasis.from_dict(stored)
        weights, provenance = dict(content["weights"]), dict(content["provenance"])
        fixed_scale = float(content["fixed_scale"])
        listed = content["layer_scales"] if version == VERSION_OF_LAYER_SCALES else {}
        layer_scales = {str(layer): float(scale) for layer, scale in listed.items()}
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(
            f"{path} lacks a part of a checkpoint ({type(error).__name__}: {error}); save it again"
        ) from error
    except (ModelError, HomeostasisError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    for factor in (fixed_scale, *layer_scales.values()):
        if not (math.isfinite(factor) and factor > 0):
            raise CheckpointError(
                f"{path} has a threshold factor of {factor}; expected a positive number; save it "
                "again"
            )
    _check_tensors(weights, path)
    return Checkpoint(
        spec, weights, homeostasis, fixed_scale, layer_scales=layer_scales, provenance=provenance
    )


def _of_nir(path: Path, settings: NirSettings) -> Checkpoint:
    """The network of a NIR file: its graph is its specification, and its weights fit by
    construction.
    """
    spec, plan = read_plan(path, settings)
    weights = dict(build_nir(spec, plan).backbone.state_dict())
    facts = {
        "format": "NIR",
        "reset": plan.dynamics.reset,
        "spikes_per_step": "many" if plan.dynamics.several else "one",
        "dt": plan.dynamics.dt,
        "logits": "what reaches the Output node at each step; the class is the argmax of its sum",
    }
    return Checkpoint(
        spec, weights, provenance=facts, name=path.stem, sha256=sha256_of_file(path), nir=plan
    )


def _external(
    content: dict[str, Any], path: Path, spec: Callable[[], ModelSpec] | None, layout: str | None
) -> Checkpoint:
    stored = content.get("ahsar")
    for wrapper in ("state_dict", "model", "net", "best_net"):
        if isinstance(content.get(wrapper), dict):
            content = content[wrapper]
            break
    if spec is None:
        plain = content and all(isinstance(value, Tensor) for value in content.values())
        what = "a plain state dict" if plain else "no checkpoint of ahsar-eval"
        raise CheckpointError(
            f"{path} is {what}, which says nothing of its network; evaluate it with --model "
            "package.module:function --timesteps T (or --layout rate-bp --backbone NAME), or train "
            "with ahsar-eval"
        )
    _check_tensors(content, path)
    try:
        homeostasis = None if stored is None else Homeostasis.from_dict(stored)
    except HomeostasisError as error:
        raise CheckpointError(f"{path}: {error}") from error
    asked = spec()
    if layout is None:
        return Checkpoint(asked, content, homeostasis)
    try:
        weights = from_rate_bp(asked.backbone, content)
        return Checkpoint(replace(asked, width=width_of_rate_bp(content)), weights, homeostasis)
    except ModelError as error:
        raise CheckpointError(f"{path} does not fit: {error}") from None


def _check_tensors(weights: Mapping[str, Any], path: Path) -> None:
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"{path} holds {name!r} of type {type(value).__name__} among its weights; expected "
                "tensors by name"
            )
    if not weights:
        raise CheckpointError(f"{path} holds no weights")


def network_of(
    checkpoint: Checkpoint, *, scale: float | None = None, model: str | None = None
) -> SpikingNet:
    """The checkpoint's network in evaluation mode with its thresholds written.

    By default every threshold is base × EMA scale (base × its constant factor for fixed:S and
    frozen:CKPT): the replay of paper 5.1. `scale` replaces the replay: v_th = scale · base in every
    layer. A network of the user's own needs `model`, since a file must not choose code to run.
    Raises `CheckpointError` when weights and network do not fit, naming the leaf.
    """
    spec = checkpoint.spec
    if checkpoint.module is not None:
        return _live(checkpoint, checkpoint.module, scale)
    if spec.is_user_network and model is None:
        raise CheckpointError(
            f"{checkpoint.name} holds a network of your own; name its code again with --model "
            f"{spec.backbone}"
        )
    if checkpoint.nir is not None:
        net = build_nir(spec, checkpoint.nir)
    else:
        net = build(replace(spec, backbone=model) if model and spec.is_user_network else spec)
    _check_fit(checkpoint, net)
    net.backbone.load_state_dict(dict(checkpoint.weights))
    return _with_thresholds(checkpoint, net, scale)


def _live(checkpoint: Checkpoint, module: nn.Module, scale: float | None) -> SpikingNet:
    """A copy of a live module, without what its last run left in it."""
    functional.reset_net(module)
    return _with_thresholds(checkpoint, SpikingNet(copy.deepcopy(module), checkpoint.spec), scale)


def _with_thresholds(checkpoint: Checkpoint, net: SpikingNet, scale: float | None) -> SpikingNet:
    base = base_thresholds(checkpoint, net)
    factors = replayed_scales(checkpoint, net) if scale is None else dict.fromkeys(base, scale)
    write_thresholds(net.backbone, base, factors)
    return net.eval()


def base_thresholds(checkpoint: Checkpoint, net: SpikingNet) -> dict[str, float]:
    """Layer → threshold before any scaling: as the controller saw it when it was attached, as built
    elsewhere.
    """
    base = read_thresholds(net.backbone)
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
    layers = read_thresholds(net.backbone)
    if not checkpoint.has_scales:
        return dict.fromkeys(layers, checkpoint.fixed_scale)
    scales = dict(checkpoint.layer_scales)
    if checkpoint.homeostasis is not None:
        scales = checkpoint.homeostasis.replayed_scales()
    for layer in scales:
        if layer not in layers:
            raise CheckpointError(
                f"{checkpoint.name} has a threshold scale for layer {layer!r}, which its network "
                f"lacks ({', '.join(layers)})"
            )
    return {layer: scales.get(layer, 1.0) for layer in layers}


def network_identity(net: SpikingNet) -> str:
    """Hash of a user network's code, '' for the catalogue: a changed network must not find an old
    recording.

    Covers the source files of the function's module and of every class in the network, and the
    network's printed structure.
    """
    if not net.spec.is_user_network:
        return ""
    names = {
        net.spec.backbone.partition(":")[0],
        *(type(module).__module__ for module in net.backbone.modules()),
    }
    sources = []
    for name in sorted(names):
        file = getattr(sys.modules.get(name), "__file__", None)
        sources += [name, sha256_of_file(file) if file and Path(file).is_file() else ""]
    typed = [code for module in net.backbone.modules() for code in _typed_code(type(module))]
    return sha256_of(*sources, *typed, repr(net.backbone))


def _typed_code(kind: type) -> Iterator[bytes]:
    """The compiled methods of a class that stands in no file, such as a notebook's."""
    if getattr(sys.modules.get(kind.__module__), "__file__", None) is not None:
        return
    for name, method in sorted(vars(kind).items()):
        if isinstance(method, types.FunctionType):
            yield name.encode()
            yield marshal.dumps(method.__code__)


def _check_fit(checkpoint: Checkpoint, net: SpikingNet) -> None:
    backbone = checkpoint.spec.backbone
    expected = {name: tuple(tensor.shape) for name, tensor in net.backbone.state_dict().items()}
    held = {name: tuple(tensor.shape) for name, tensor in checkpoint.weights.items()}
    for name in (*expected, *held):
        if name not in held:
            fault = f"lacks {name!r}, which the network {backbone} has"
        elif name not in expected:
            fault = f"has {name!r}, which the network {backbone} lacks"
        elif held[name] != expected[name]:
            fault = (
                f"has {name!r} of shape {held[name]}; the network {backbone} at width "
                f"{checkpoint.spec.width} expects {expected[name]}"
            )
        else:
            continue
        raise CheckpointError(f"{checkpoint.name} {fault}; is it another network's?")
