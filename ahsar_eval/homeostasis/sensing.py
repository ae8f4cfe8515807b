"""How a layer's rate is sensed (paper 4.1): as exact spike counts, or through the surrogate at the
mean input current.

Both return 0-dimensional tensors, so that no layer makes the host wait for the device; the
controller reads them once per step.
"""

import torch
from torch import Tensor, nn

from ahsar_eval.errors import HomeostasisError

SENSING = ("spikes", "surrogate")
_ONE_SUM = 2**20  # values; up to so many, float32 counts exactly while they are 16 on average


def spike_count(spikes: Tensor) -> Tensor:
    """Number of spikes of a {0, 1} tensor with the batch axis first or second, as a float64 scalar.

    Exact while one sample's row holds fewer than 2²⁴ spikes: small tensors and the rows of large
    ones are summed in float32, where counts are exact whatever their order, and rows in float64. On
    a CPU this reads memory at full speed, many times faster than a float64 sum.
    """
    spikes = spikes.detach()
    counted = torch.promote_types(spikes.dtype, torch.float32)
    if spikes.numel() <= _ONE_SUM:
        return spikes.sum(dtype=counted).double()
    rows = tuple(
        range(min(2, spikes.dim() - 1), spikes.dim())
    )  # no flatten: it would copy what lies channels last
    return spikes.sum(rows, dtype=counted).sum(dtype=torch.float64)


def counted_spikes(neuron: nn.Module, output: Tensor) -> Tensor:
    """What `spike_count` has to add: the spikes a layer emitted, or its own sums of them over the
    call's steps, where whoever ran it left them for just this output (`models.leave_sums`; the
    loops of `engine` and the rate pass do): a T-th of the memory to read.
    """
    counted = vars(neuron).get("counted")
    sums = None if counted is None else counted(output)
    return output if sums is None else sums


def surrogate_rate(mean_current: Tensor, threshold: float, neuron: nn.Module) -> Tensor:
    """Mean over samples and neurons of φ(x̄ − θ), φ the sigmoid of the layer's own surrogate; a
    float64 scalar.

    `mean_current` is the input current averaged over time, [N, …]. Raises `HomeostasisError` for a
    surrogate without `alpha`.
    """
    alpha = getattr(getattr(neuron, "surrogate_function", None), "alpha", None)
    if not isinstance(alpha, (int, float)):
        raise HomeostasisError(
            "surrogate sensing needs a surrogate function with a numeric alpha; "
            f"{type(neuron).__name__} has none; use sensing='spikes'"
        )
    return torch.sigmoid(alpha * (mean_current.detach() - threshold)).mean(dtype=torch.float64)
