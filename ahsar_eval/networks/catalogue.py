"""From a specification to a network: the catalogue of backbones, and networks of the user's own."""

import importlib
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks import resnet, vgg
from ahsar_eval.networks.neurons import is_neuron
from ahsar_eval.networks.spec import ModelSpec
from ahsar_eval.networks.stepping import SpikingNet


@dataclass(frozen=True)
class Backbone:
    """How a named backbone is made, and the smallest image side it can take."""

    make: Callable[[ModelSpec], nn.Module]
    smallest_side: int


BACKBONES = {
    "vgg13": Backbone(vgg.VGG13, vgg.SMALLEST_SIDE),
    "resnet18": Backbone(resnet.ResNet18, resnet.SMALLEST_SIDE),
}


def build(spec: ModelSpec) -> SpikingNet:
    """The network of `spec` with fresh weights. Raises `ModelError` for an unknown backbone or an
    input it cannot take.
    """
    if spec.is_user_network:
        network = load_user_network(spec.backbone)
        for mode in step_modes(network) - {spec.step_mode}:
            raise ModelError(
                f"{spec.backbone} runs in step mode {mode} and {spec.step_mode} was asked for; "
                "set it in that function (spikingjelly.activation_based.functional.set_step_mode) "
                "or ask for its own"
            )
        return SpikingNet(network, spec)
    if spec.backbone not in BACKBONES:
        raise ModelError(
            f"no backbone {spec.backbone!r}; known are {', '.join(BACKBONES)}, or "
            "package.module:function for a network of your own"
        )
    backbone = BACKBONES[spec.backbone]
    side = min(spec.input_shape[1:])
    if side < backbone.smallest_side:
        raise ModelError(
            f"{spec.backbone} cannot take images of {spec.input_shape[1]}x{spec.input_shape[2]}: "
            "its poolings need a side of at least "
            f"{backbone.smallest_side}; use larger images or another backbone"
        )
    return SpikingNet(backbone.make(spec), spec)


def step_modes(network: nn.Module) -> set[str]:
    """Step modes of a network's spiking layers, 's' and 'm'."""
    return {
        str(module.step_mode)
        for module in network.modules()
        if is_neuron(module) and hasattr(module, "step_mode")
    }


def load_user_network(reference: str) -> nn.Module:
    """Call `package.module:function` and return its module; the current folder is importable, as
    for `python -m`.

    Raises `ModelError` when the module or function is missing, fails, or returns something that is
    no `torch.nn.Module`.
    """
    module_name, _, function_name = reference.partition(":")
    if not module_name or not function_name:
        raise ModelError(f"{reference!r} names no network; expected package.module:function")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ModelError(
            f"cannot import {module_name!r} for --model ({error}); run from the folder that holds "
            "it or install it"
        ) from error
    except Exception as error:
        raise ModelError(
            f"importing {module_name!r} failed with {type(error).__name__}: {error}; mend that "
            "module"
        ) from error
    function = getattr(module, function_name, None)
    if function is None:
        raise ModelError(
            f"module {module_name!r} has no function {function_name!r}; name one that returns the "
            "network"
        )
    try:
        network = function()
    except Exception as error:
        raise ModelError(
            f"{reference} failed with {type(error).__name__}: {error}; it is called without "
            "arguments"
        ) from error
    if not isinstance(network, nn.Module):
        raise ModelError(
            f"{reference} returned {type(network).__name__}; expected a torch.nn.Module"
        )
    return network
