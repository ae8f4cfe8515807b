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
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from ahsar_eval.errors import CheckpointError, HomeostasisError, ModelError, misread
from ahsar_eval.files import sha256_of, sha256_of_file, shipped, table_beside, written_whole
from ahsar_eval.homeostasis import Homeostasis, read_thresholds, write_thresholds
from ahsar_eval.networks.backbones import build
from ahsar_eval.networks.network import ModelSpec, NirSettings, SpikingNet

FORMAT = "ahsar-eval checkpoint"
VERSION = 1
# An older toolkit must refuse such a file rather than evaluate it without them.
VERSION_OF_LAYER_SCALES = 2
_HDF5 = b"\x89HDF\r\n\x1a\n"  # how a NIR file begins
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
    # layer → constant factor in its place, of frozen:CKPT
    layer_scales: Mapping[str, float] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """Hash of the file it was read from; of its content where it was never saved."""
        if self.sha256:
            return self.sha256
        content = _content(self)
        del content["provenance"]  # when and by which command says nothing of what it computes
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
    try:
        with open(path, "rb") as reader:
            start = reader.read(len(_HDF5))
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
    try:
        if path.suffix.lower() == ".nir" or start == _HDF5:
            from ahsar_eval.networks.nir_network import read_nir

            spec, network, facts = read_nir(path, nir or NirSettings())
            checkpoint = Checkpoint(spec, network.state_dict(), provenance=facts, module=network)
        elif (content := _read(path)).get("format") == FORMAT:
            checkpoint = _own(content)
        else:
            checkpoint = _external(content, external_spec, layout)
        for tensor_name, tensor in checkpoint.weights.items():
            if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
                raise CheckpointError(
                    f"it has a value that is not finite (NaN or Inf) in {tensor_name!r}; the "
                    "training diverged; use another one"
                )
    except (CheckpointError, ModelError, HomeostasisError) as error:
        raise CheckpointError(f"{path}: {error}") from error
    return replace(checkpoint, name=path.stem, sha256=sha256_of_file(path))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        code = re.search(r"(?:GLOBAL|class|global:?)\s+([A-Za-z_][\w.]+\.[\w]+)", str(error))
        if code is not None and isinstance(error, pickle.UnpicklingError):
            raise CheckpointError(
                f"it asks to run code when it is opened ({code[1]}); it was not opened "
                "further; expected plain tensors and numbers (save a state_dict, not a module)"
            ) from None
        raise CheckpointError(
            "it is no checkpoint: it is truncated, of another kind, or asks to run code "
            f"({type(error).__name__}); expected a file written by torch.save that holds plain "
            "tensors and numbers; copy it again"
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(
            f"it holds a {type(content).__name__}; expected a checkpoint of ahsar-eval or a state "
            "dict"
        )
    return content


def _own(content: dict[str, Any]) -> Checkpoint:
    version = content.get("version")
    if version not in (VERSION, VERSION_OF_LAYER_SCALES):
        raise CheckpointError(
            f"the version is {version}; this version of ahsar-eval reads {VERSION} and "
            f"{VERSION_OF_LAYER_SCALES}; update ahsar-eval"
        )
    with misread(CheckpointError, "it lacks a part of a checkpoint", "save it again"):
        stored = content["homeostasis"]
        listed = content["layer_scales"] if version == VERSION_OF_LAYER_SCALES else {}
        checkpoint = Checkpoint(
            ModelSpec.from_dict(content["spec"]),
            _tensors(dict(content["weights"])),
            None if stored is None else Homeostasis.from_dict(stored),
            float(content["fixed_scale"]),
            layer_scales={str(layer): float(scale) for layer, scale in listed.items()},
            provenance=dict(content["provenance"]),
        )
    for factor in (checkpoint.fixed_scale, *checkpoint.layer_scales.values()):
        if not 0 < factor < math.inf:
            raise CheckpointError(
                f"it has a threshold factor of {factor}; expected a positive number; save it again"
            )
    return checkpoint


def _external(
    content: dict[str, Any], spec: Callable[[], ModelSpec] | None, layout: str | None
) -> Checkpoint:
    stored = content.get("ahsar")
    held = [content.get(wrapper) for wrapper in ("state_dict", "model", "net", "best_net")]
    content = next((weights for weights in held if isinstance(weights, dict)), content)
    if spec is None:
        raise CheckpointError(
            "it is no checkpoint of ahsar-eval, and a plain state dict says nothing of its "
            "network; evaluate that with --model package.module:function --timesteps T (or "
            "--layout rate-bp --backbone NAME), or train with ahsar-eval"
        )
    weights, asked = _tensors(content), spec()
    homeostasis = None if stored is None else Homeostasis.from_dict(stored)
    if layout is not None:
        weights = _from_rate_bp(asked.backbone, weights)
        last = weights.get("linear.weight", torch.empty(0))
        asked = replace(asked, width=last.shape[1] / 512 if last.dim() == 2 and len(last) else 1.0)
    return Checkpoint(asked, weights, homeostasis)


def _tensors(weights: dict[str, Any]) -> dict[str, Tensor]:
    for name, value in weights.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise CheckpointError(
                f"it holds {name!r} of type {type(value).__name__} among its weights; expected "
                "tensors by name"
            )
    if not weights:
        raise CheckpointError("it holds no weights")
    return weights


def _from_rate_bp(backbone: str, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the public rate-based-backpropagation code under the names of our `backbone`
    (rate_bp_keys.toml).

    Their VGG-13 gives every convolution a bias; since batch norm follows, (x + b − μ) =
    (x − (μ − b)), the bias moves into the running mean, exact but for rounding.
    """
    layouts: dict[str, dict[str, str]] = table_beside(__file__, "rate_bp_keys.toml")
    if backbone not in layouts:
        raise CheckpointError(
            f"the layout rate-bp is known for {', '.join(layouts)}, and the backbone is "
            f"{backbone!r}; choose one with --backbone"
        )
    taken: dict[str, Tensor] = {}
    for name, tensor in state.items():
        module, _, leaf = name.rpartition(".")
        if module not in layouts[backbone]:
            raise CheckpointError(
                f"it has {name}, which a {backbone} of the layout rate-bp lacks; is it another "
                "network's?"
            )
        taken[f"{layouts[backbone][module]}.{leaf}"] = tensor
    for name in [name for name in taken if ".conv" in name and name.endswith(".bias")]:
        bias, mean = taken.pop(name), name.replace(".conv", ".bn").replace("bias", "running_mean")
        if mean not in taken or taken[mean].shape != bias.shape:
            raise CheckpointError(
                f"it has a bias {name} of shape {tuple(bias.shape)}, which the batch norm behind "
                "it does not fit; is it another network's?"
            )
        taken[mean] = taken[mean] - bias
    return taken


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
        functional.reset_net(checkpoint.module)  # what its last run left in it is not copied
        net = SpikingNet(copy.deepcopy(checkpoint.module), spec)
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
            net.backbone.load_state_dict(dict(checkpoint.weights))
        except RuntimeError as error:
            heading, *faults = str(error).splitlines() or [""]
            raise CheckpointError(
                f"{checkpoint.name} does not fit the network {spec.backbone} at width "
                f"{spec.width}: {(faults or [heading])[0].strip()[:200]}; is it another network's?"
            ) from None
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
    layers, scales = read_thresholds(net.backbone), checkpoint.scales
    for layer in scales:
        if layer not in layers:
            raise CheckpointError(
                f"{checkpoint.name} has a threshold scale for layer {layer!r}, which its network "
                f"lacks ({', '.join(layers)})"
            )
    return {layer: scales.get(layer, checkpoint.fixed_scale) for layer in layers}
