"""How a network is called: the axes that a call takes and gives, and in which step mode its neurons
run.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks.neurons import is_neuron

# What a call takes and gives; K classes. N alone: one image, and time is inside the network.
TAKES = {
    "TN": "[T, N, C, H, W]",
    "NT": "[N, T, C, H, W]",
    "N": "[N, C, H, W], all time inside",
    "step": "[N, C, H, W] of one time step",
    "state": "[N, C, H, W] of one time step, with the state that the step before gave",
    "flat": "[T, C, H, W] of one sample",
}
GIVES = {"TN": "[T, N, K]", "NT": "[N, T, K]", "N": "[N, K]", "flat": "[T, K]"}
BY_STEP = ("step", "state")
# Their submodules run step by step, whatever the network does.
_STEPBY_STEP = (
    layer.MultiStepContainer,
    layer.SeqToANNContainer,
    layer.StepModeContainer,
    layer.TLastMultiStepContainer,
    layer.TLastSeqToANNContainer,
    layer.ElementWiseRecurrentContainer,
    layer.LinearRecurrentContainer,
)
_TOLD = 3  # parts of an output that is no tensor


def own_step_modes(network: nn.Module) -> set[str]:
    """Step modes, 's' and 'm', of the spiking layers that take what the network is called with:
    not of those in containers that run them step by step.
    """
    found, waiting = set(), [network]
    while waiting:
        module = waiting.pop()
        if is_neuron(module):
            found.add(str(module.step_mode))
        if isinstance(module, _STEPBY_STEP):
            found.add(str(getattr(module, "step_mode", "m")))
        else:
            waiting += module.children()
    return found


def step_mode_of(network: nn.Module) -> str:
    """'s' where those layers all run step by step, else 'm'."""
    return "s" if own_step_modes(network) == {"s"} else "m"


@dataclass(frozen=True)
class Calls:
    """A convention: what a call `takes` (`TAKES`) and `gives` (`GIVES`); where it gives several
    things, `output` is the number or the name of the logits.
    """

    takes: str
    gives: str
    output: str = ""

    @classmethod
    def parse(cls, text: str) -> "Calls":
        """Of a text such as NT/TN or NT/TN:0. Raises `ModelError`."""
        found = cls.partly(text)
        fits = {"step": ("N",), "state": ("N",), "flat": ("flat", "N")}.get(
            found.takes, ("TN", "NT", "N")
        )
        if found.gives not in fits:
            raise ModelError(
                f"the calling convention is {text!r}; {found.takes} gives one of {', '.join(fits)},"
                f" such as {found.takes}/{fits[0]}"
            )
        return found

    @classmethod
    def partly(cls, text: str) -> "Calls":
        """Of a text that may leave out what is to be found. Raises `ModelError`."""
        axes, _, output = text.partition(":")
        takes, _, gives = axes.partition("/")
        if takes not in (TAKES if gives or not output else ("", *TAKES)) or gives not in (
            "",
            *GIVES,
        ):
            raise ModelError(
                f"the calling convention is {text!r}; expected one of {', '.join(TAKES)}, a slash "
                f"and one of {', '.join(GIVES)}, such as NT/NT, and where the network gives "
                "several outputs a colon and the number of the logits, such as NT/NT:0"
            )
        return cls(takes, gives, output)

    def __str__(self) -> str:
        return f"{self.takes}/{self.gives}" + (f":{self.output}" if self.output else "")

    @property
    def by_step(self) -> bool:
        """Whether a call is one time step."""
        return self.takes in BY_STEP

    @property
    def alone(self) -> bool:
        """Whether samples run one by one, since one axis holds all their steps."""
        return self.takes == "flat"

    def told(self) -> str:
        """For a reader."""
        what = f" (output {self.output} of several)" if self.output else ""
        return f"{TAKES[self.takes]} → {GIVES[self.gives]}{what}"

    def run(self, network: Callable[..., Any], steps: Tensor) -> Tensor:
        """Logits [T, N, K], or [1, N, K] of a network that sums or averages over time itself, of
        `steps` [T, N, C, H, W], which are all the same for a network with time inside; N is 1 where
        samples run alone. Raises `ModelError` for an output without the logits.
        """
        if self.by_step:
            state: tuple[Any, ...] = ()
            logits = []
            for step in steps:
                out = network(step, *state)
                logits.append(self.picked(out))
                state = tuple(out[1:]) if self.takes == "state" else ()
            return torch.stack(logits)
        out = self.picked(network(given_at_once(self.takes, steps)))
        if self.gives == "N":
            return out[None]
        if self.gives == "flat":
            return out[:, None]
        return out.transpose(0, 1) if self.gives == "NT" else out

    def picked(self, out: Any) -> Tensor:
        """The logits in what a call gives. Raises `ModelError`."""
        parts = outputs_in(out)
        found = parts.get(self.output or next(iter(parts), ""))
        if isinstance(found, Tensor):
            return found
        raise ModelError(
            f"the network returns {told_of(out)}, and no tensor of logits as output "
            f"{self.output or 0}; expected a tensor, or say which of several it is, such as "
            "--calls TN/TN:0"
        )


def told_of(out: Any) -> str:
    """What is no tensor, for a reader."""
    kind, parts = type(out).__name__, [*outputs_in(out).values()]
    if not parts:
        return f"a {kind}"
    shapes = [
        f"shape {list(part.shape)}" if isinstance(part, Tensor) else type(part).__name__
        for part in parts[:_TOLD]
    ]
    more = [f"{len(parts) - _TOLD} more"] if len(parts) > _TOLD else []
    return f"a {kind} of {len(parts)} ({', '.join([*shapes, *more])})"


def outputs_in(out: Any) -> dict[str, Any]:
    """What a call gives by number or name; "" where that is one tensor."""
    if isinstance(out, Tensor):
        return {"": out}
    if isinstance(out, Mapping):
        return {str(name): value for name, value in out.items()}
    return {str(i): v for i, v in enumerate(out)} if isinstance(out, (tuple, list)) else {}


def given_at_once(takes: str, steps: Tensor) -> Tensor:
    """What the first call of a pass over `steps` [T, N, …] is given."""
    if takes == "flat":
        return steps[:, 0]
    if takes == "NT":
        return steps.transpose(0, 1).contiguous()
    return steps if takes == "TN" else steps[0]
