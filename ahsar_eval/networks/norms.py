"""What others adapt at test time: batch norms that take the statistics of the samples that come in
(Schneider et al. 2020, Nado et al. 2020), and entropy minimised over their factors and summands
(TENT, Wang et al. 2021).

Weights of norms are written here, and nowhere else at test time; `kept` puts them back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn.modules.batchnorm import _BatchNorm

from ahsar_eval.errors import ModelError

_HELD = ("running_mean", "running_var", "weight", "bias")  # of a norm, what may be adapted
LEARNING_RATE = 1e-3  # of TENT, with Adam (Wang et al. 2021, section 4)


def norms_of(net: nn.Module, mode: str) -> dict[str, _BatchNorm]:
    """The batch norms of a network that have statistics of their own, by name. Raises `ModelError`
    where there is none, or, for the mode "tent", none with factors.
    """
    norms = {
        name: module
        for name, module in net.named_modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    }
    if not norms or (mode == "tent" and not any(norm.affine for norm in norms.values())):
        of = " with factors and summands" if norms else ""
        raise ModelError(
            f"the network has no batch norm{of} (it may be folded into the weights), which --adapt "
            f"{mode} needs; --adapt channel needs none"
        )
    return norms


@contextmanager
def kept(norms: Mapping[str, _BatchNorm]) -> Iterator[None]:
    """Statistics and weights of the norms, put back when the block ends, however it ends."""
    before = norms_state(norms)
    counted = {
        name: None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone()
        for name, norm in norms.items()
    }
    try:
        yield
    finally:
        write_norms(norms, before)
        for name, number in counted.items():
            if number is not None:
                norms[name].num_batches_tracked.copy_(number)  # type: ignore[union-attr]


def norms_state(norms: Mapping[str, _BatchNorm]) -> dict[str, dict[str, Tensor]]:
    """Norm → copies of its statistics, factors and summands."""
    return {
        name: {
            held: getattr(norm, held).detach().clone()
            for held in _HELD
            if getattr(norm, held) is not None
        }
        for name, norm in norms.items()
    }


def write_norms(norms: Mapping[str, _BatchNorm], state: Mapping[str, Mapping[str, Any]]) -> None:
    """Write what `norms_state` gave, in place: whoever holds the tensors sees them change."""
    with torch.no_grad():
        for name, values in state.items():
            for held, value in values.items():
                own = getattr(norms[name], held)
                own.copy_(torch.as_tensor(value, dtype=own.dtype))


@contextmanager
def of_the_batch(norms: Mapping[str, _BatchNorm], momentum: float | None) -> Iterator[None]:
    """Norms that normalise by the statistics of the batch at hand and move their own towards them:
    by `momentum`; None takes the batch's in their place. Those of a batch are the mean over the
    calls of the block, which are its time steps in single-step mode.
    """
    before = {norm: (norm.training, norm.momentum) for norm in norms.values()}
    own = norms_state(norms)
    try:
        for norm in norms.values():
            norm.reset_running_stats()
            norm.training, norm.momentum = True, None
        yield
    finally:
        for name, norm in norms.items():
            norm.training, norm.momentum = before[norm]
            ran = bool(norm.num_batches_tracked)
            for held in _HELD[:2]:
                statistic = getattr(norm, held)
                if momentum is not None and ran:
                    statistic.mul_(momentum).add_(own[name][held], alpha=1 - momentum)
                elif not ran:
                    statistic.copy_(own[name][held])
                # torch does not count its own writing into them, by which others know what they
                # hold
                increment_version(statistic)


class EntropyMinimiser:
    """TENT: Adam on the factors and summands of the norms, towards less entropy of the predictions.
    What learns is put back to how it was by `close`.
    """

    def __init__(self, net: nn.Module, norms: Mapping[str, _BatchNorm]) -> None:
        self._before = {p: (p.requires_grad, p.grad) for p in net.parameters()}
        for parameter in self._before:
            parameter.requires_grad_(False)
            parameter.grad = None
        self.learned = [
            parameter.requires_grad_(True)
            for norm in norms.values()
            for parameter in (norm.weight, norm.bias)
            if norm.affine
        ]
        self._adam = torch.optim.Adam(self.learned, lr=LEARNING_RATE)

    def step(self, logits: Callable[[], Tensor]) -> float:
        """One step down the mean entropy of softmax(logits), logits [N, K] made in the call; the
        entropy before it, in nats. Raises `ModelError` where no gradient reaches the norms.
        """
        self._adam.zero_grad()
        with torch.enable_grad():
            log_p = logits().log_softmax(1)
            entropy = -(log_p.exp() * log_p).sum(1).mean()
            if not entropy.requires_grad:
                raise ModelError(
                    "no gradient of the logits reaches the factors and summands of the norms, "
                    "which --adapt tent needs (neurons without a surrogate gradient, or a forward "
                    "without gradients); --adapt batchnorm and channel need none"
                )
            entropy.backward()  # type: ignore[no-untyped-call]
        self._adam.step()
        return float(entropy.detach())

    def state(self) -> list[dict[str, Any]]:
        """Adam's moments and steps of each factor and summand, JSON-ready."""
        held = (self._adam.state[parameter] for parameter in self.learned)
        return [{name: value.tolist() for name, value in one.items()} for one in held]

    def load(self, state: Sequence[Mapping[str, Any]]) -> None:
        """Go on from what `state` gave."""
        for parameter, one in zip(self.learned, state, strict=True):
            self._adam.state[parameter] = {
                name: torch.tensor(value, dtype=parameter.dtype, device=parameter.device)
                if isinstance(value, list)
                else torch.tensor(value)
                for name, value in one.items()
            }

    def close(self) -> None:
        """Put back what asked for gradients, and those that were there."""
        for parameter, (asked, grad) in self._before.items():
            parameter.requires_grad_(asked)
            parameter.grad = grad
