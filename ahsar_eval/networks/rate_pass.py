"""Rate-based backpropagation: a spike pass without gradient, then one rate pass with it (Yu et al.,
NeurIPS 2024; docs/method.md).

The spike pass runs all T steps as ever and keeps of each neuron its mean output r̄ = mean_t s_t and
the gate e, the derivative of r̄ with respect to the neuron's mean input: with k = ∂u/∂x, λ the
decay, θ_t the threshold of a step, g_t the surrogate's derivative at u_t − θ_t,

    e = (1/T)·Σ_t ε_t·g_t,  ε_1 = k,
    ε_{t+1} = k + λ·ε_t                                     soft reset, detached
              k + λ·ε_t·(1 − θ_t·g_t)                       soft reset, attached
              k + λ·ε_t·(1 − s_t)                           hard reset, detached
              k + λ·ε_t·((1 − s_t) − (u_t − v_reset)·g_t)   hard reset, attached

The rate pass runs the same layers once on the mean input. A neuron returns r̄ with the derivative
e; batch norm takes the spike pass's mean and variance as values and passes the gradient of the rate
batch's own ones. So nothing that is saved for the backward pass grows with T.
"""

from contextlib import AbstractContextManager
from typing import Any

import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from torch import Tensor, nn

from ahsar_eval.errors import ModelError
from ahsar_eval.networks.neurons import (
    emits_binary_spikes,
    exchanged,
    is_neuron,
    leave_sums,
    surrogate_derivative,
)

_BATCH_NORMS = [getattr(where, f"BatchNorm{axes}d") for where in (nn, layer) for axes in (1, 2, 3)]


class Passes:
    """The two passes over one batch: inside `spikes()` neurons and batch norms note what they need
    inside `rates()`.

    `calls` is how often the network is called for one batch: once in multi-step mode, T times in
    single-step mode. Raises `ModelError` for a layer without a rule: neurons other than LIF and IF,
    dropout, another kind of batch norm, and a neuron or norm that is used twice.
    """

    def __init__(self, backbone: nn.Module, calls: int) -> None:
        self.calls = calls
        self.layers: list[_Gate | _Statistics] = []
        for name, module in backbone.named_modules():
            kind, fires = type(module), is_neuron(module)
            norms = isinstance(module, nn.modules.batchnorm._BatchNorm)
            if (fires or norms) and "forward" in vars(module):
                fault = "has a forward of its own in place of its class's"
            elif kind in (neuron.LIFNode, neuron.IFNode) and emits_binary_spikes(module):
                self.layers.append(_Gate(name, module))
                continue
            elif fires:
                fault = "is no LIFNode or IFNode of SpikingJelly in spiking mode"
            elif norms and kind not in _BATCH_NORMS:
                fault = "is no BatchNorm1d, 2d or 3d"
            elif "Dropout" in kind.__name__ and module.training and getattr(module, "p", 1.0):
                fault = "would drop other units in the rate pass than in the spike pass"
            else:
                # A frozen norm is a fixed affine map: it runs as it is.
                if norms and (module.training or module.running_mean is None):
                    self.layers.append(_Statistics(name, module))
                continue
            raise ModelError(
                f"rate-based backpropagation has no rule for layer {name!r} ({kind.__name__}), "
                f"which {fault}; train it with bptt"
            )

    def spikes(self) -> AbstractContextManager[None]:
        """The network spikes as ever, and what the rate pass needs is noted."""
        return exchanged({one.module: one.spike for one in self.layers})

    def rates(self) -> AbstractContextManager[None]:
        """Neurons and batch norms act on rates, [1, N, …] in multi-step mode and [N, …] in
        single-step mode.
        """
        for one in self.layers:
            if one.calls > self.calls:
                calls = f"{self.calls} call{'s' * (self.calls != 1)}"
                raise ModelError(
                    f"layer {one.name!r} ran {one.calls} times in {calls} of the network; "
                    "rate-based backpropagation needs a layer of its own for every use; train it "
                    "with bptt"
                )
        return exchanged({one.module: one.rate for one in self.layers})


class _Gate:
    """A neuron layer in the two passes: Σ_t s_t and Σ_t ε_t·g_t, [N, …]."""

    def __init__(self, name: str, module: Any) -> None:
        self.name, self.module = name, module
        self.calls = self.steps = 0
        leaks = isinstance(module, neuron.LIFNode)
        self.keep = 1 - 1 / module.tau if leaks else 1.0  # λ
        self.entry = 1 / module.tau if leaks and module.decay_input else 1.0  # k
        # ε; one number for all neurons under a detached soft reset.
        self.trace: float | Tensor = self.entry
        self.spikes: Tensor | float = 0.0
        self.gates: Tensor | float = 0.0

    def spike(self, x: Tensor) -> Tensor:
        """What the layer's own forward returns, bit for bit; its potential is left as that leaves
        it.
        """
        module = self.module
        self.calls += 1
        many = module.step_mode == "m"
        steps = x if many else x[None]
        v = module.v if isinstance(module.v, Tensor) else torch.full_like(steps[0], module.v)
        spikes = torch.empty_like(steps)
        for now, s in zip(steps, spikes, strict=True):
            v = self._step(now, v, s)
        module.v = v
        self.steps += len(steps)
        given = spikes if many else spikes[0]
        counted = spikes.sum(0) if many else given
        self.spikes = self.spikes + counted
        leave_sums(module, given, counted)
        return given

    def _step(self, x: Tensor, v: Tensor, s: Tensor) -> Tensor:
        """One time step from potential `v`: writes the spikes into `s`, adds to Σ ε·g, returns the
        potential after the reset.
        """
        module, threshold, reset = self.module, float(self.module.v_threshold), self.module.v_reset
        u = (
            v + x
            if isinstance(module, neuron.IFNode)
            else functional.lif_charge(x, v, module.tau, module.decay_input, reset)
        )
        above = u - threshold
        torch.ge(above, 0, out=s)
        if type(module.surrogate_function) is surrogate.Sigmoid:
            alpha = module.surrogate_function.alpha
            p = torch.sigmoid(above * alpha)
            g = p.addcmul_(p, p, value=-1).mul_(alpha)
        else:  # by the very function that BPTT differentiates
            g = surrogate_derivative(module.surrogate_function, above)
        if isinstance(self.trace, Tensor):
            self.gates = self.gates + self.trace * g
        elif isinstance(self.gates, float):
            self.gates = g * self.trace
        else:
            self.gates = self.gates.add_(g, alpha=self.trace)
        kept = self.keep * self.trace
        if reset is not None and module.detach_reset:
            kept = kept * (1 - s)
        elif reset is not None:
            kept = kept * ((1 - s) - (u - reset) * g)
        elif not module.detach_reset:
            kept = kept * (1 - threshold * g)
        self.trace = self.entry + kept
        return functional.voltage_reset(u, s, threshold, reset, True)

    def rate(self, x: Tensor) -> Tensor:
        """r̄ with the derivative e with respect to `x`."""
        rate, gate = (torch.as_tensor(sums) / self.steps for sums in (self.spikes, self.gates))
        return rate.view_as(x) + gate.view_as(x) * (x - x.detach())


class _Statistics:
    """A batch norm in the two passes: the spike pass's mean and variance, [C], averaged over its
    calls.
    """

    def __init__(self, name: str, module: Any) -> None:
        self.name, self.module = name, module
        self.calls = 0
        self.mean: Tensor | float = 0.0
        self.variance: Tensor | float = 0.0

    def spike(self, x: Tensor) -> Tensor:
        """What the layer's own forward returns; the running statistics move as they would there."""
        self.calls += 1
        module, samples = self.module, self._flat(x)
        if samples.numel() == samples.shape[1]:
            raise ModelError(
                f"batch norm {self.name!r} was given one value per channel, of which it cannot "
                "learn a variance; train on more samples"
            )
        momentum, tracked = module.momentum, module.track_running_stats
        if tracked:
            module.num_batches_tracked.add_(1)
            momentum = 1 / float(module.num_batches_tracked) if momentum is None else momentum
        # What the layer itself calls, one level below, where the statistics it finds are returned.
        normed, mean, scale = torch.native_batch_norm(
            samples,
            module.weight,
            module.bias,
            module.running_mean if tracked else None,
            module.running_var if tracked else None,
            True,
            momentum or 0.0,
            module.eps,
        )
        self.mean, self.variance = self.mean + mean, self.variance + (scale**-2 - module.eps)
        return normed.view_as(x)

    def rate(self, x: Tensor) -> Tensor:
        """Normalised by the spike pass's statistics; the gradient is that of the rate
        batch's own."""
        norm = self.module
        mean, variance = (torch.as_tensor(sums) / self.calls for sums in (self.mean, self.variance))
        answer: Tensor = _NormOfRates.apply(  # type: ignore[no-untyped-call]
            self._flat(x), norm.weight, norm.bias, mean, variance, norm.eps
        )
        return answer.view_as(x)

    def _flat(self, x: Tensor) -> Tensor:
        return x.flatten(0, 1) if getattr(self.module, "step_mode", "s") == "m" else x


class _NormOfRates(torch.autograd.Function):
    """y = γ·(x − μ)/√(σ² + eps) + β with given μ and σ², differentiated as if they were the mean
    and variance of x ([N, C, …]).

    dx = γ·dy/√(σ² + eps) + (dμ + 2·(x − x̄)·dσ²)/M, M the number of values per channel, x̄ their
    mean.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        variance: Tensor,
        eps: float,
    ) -> Tensor:
        scale = torch.rsqrt(variance + eps)
        axes, shape = _channels_of(x)
        own = x.mean(axes, dtype=scale.dtype)
        ctx.save_for_backward(x, weight, mean, scale, own)
        ctx.has_bias = bias is not None
        slope = scale if weight is None else scale * weight
        start = -mean * slope if bias is None else bias - mean * slope
        return (x * slope.view(shape) + start.view(shape)).to(x.dtype)

    @staticmethod
    def backward(
        ctx: Any, *grad: Tensor
    ) -> tuple[Tensor, Tensor | None, Tensor | None, None, None, None]:
        x, weight, mean, scale, own = ctx.saved_tensors
        dy = grad[0]
        axes, shape = _channels_of(x)
        count = x.numel() // x.shape[1]
        # In full precision, and centred before it is summed: Σ dy·x − μ·Σ dy would cancel where |μ|
        # is large.
        sum_dy = dy.sum(axes, dtype=scale.dtype)
        sum_dy_centred = (dy * (x - mean.view(shape))).sum(axes, dtype=scale.dtype)
        slope = scale if weight is None else scale * weight
        d_mean = -slope * sum_dy
        d_variance = -0.5 * slope * scale**2 * sum_dy_centred
        dx = (
            dy * slope.view(shape)
            + (2 / count) * d_variance.view(shape) * (x - own.view(shape))
            + (d_mean / count).view(shape)
        )
        return (
            dx.to(x.dtype),
            None if weight is None else scale * sum_dy_centred,
            sum_dy if ctx.has_bias else None,
            None,
            None,
            None,
        )


def _channels_of(x: Tensor) -> tuple[list[int], list[int]]:
    """The axes beside the channels of [N, C, …], and the shape in which a number per channel meets
    them.
    """
    return [axis for axis in range(x.dim()) if axis != 1], [1, -1, *[1] * (x.dim() - 2)]
