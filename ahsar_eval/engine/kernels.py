"""Loops over neurons and time steps, compiled by numba when first used (kept compiled between runs).

Elements are independent of each other and every operation is the one that SpikingJelly writes, in its order; nothing is contracted to a
fused multiply-add, nothing re-associated. So no bit depends on the number of threads or on the machine.
"""

from types import FunctionType
from typing import Any, cast

import numba
import numpy as np

_BLOCK = 4096  # neurons whose potentials stay in the fastest cache over all steps
SUBTRACT, SET = 0, 1  # what a spike does to the potential


def _fire(x, v, tau, decay_input, threshold, mode, reset, spikes, counts, charges):  # type: ignore[no-untyped-def]
    """LIF, or IF where `tau` is 0, of M neurons: `x` [T, M] (or [1, M], the same at every step), potentials `v` [M] before and after.

    Writes `spikes` [T, M], their sums over T, `counts` [M], and unless it is empty `charges` [T, M], the potentials that are compared with
    the threshold. After spikingjelly.activation_based.functional, lif_step and if_step.
    """
    one, zero = np.float32(1), np.float32(0)
    neurons, last, kept = spikes.shape[1], len(x) - 1, len(charges) > 0
    for block in numba.prange((neurons + _BLOCK - 1) // _BLOCK):
        low = block * _BLOCK
        size = min(neurons - low, _BLOCK)
        potential, fired = v[low : low + size], counts[low : low + size]
        for i in range(size):
            fired[i] = zero
        for t in range(len(spikes)):
            given, out = x[min(t, last), low : low + size], spikes[t, low : low + size]
            for i in range(size):
                before = potential[i]
                if tau == zero:
                    charged = before + given[i]
                elif decay_input:
                    charged = before + (given[i] - (before - reset)) / tau
                else:
                    charged = before - (before - reset) / tau + given[i]
                if kept:
                    charges[t, low + i] = charged
                spike = one if charged - threshold >= zero else zero
                out[i] = spike
                fired[i] += spike
                potential[i] = charged - spike * threshold if mode == SUBTRACT else spike * reset + (one - spike) * charged


def _fire_backward(d_spikes, d_v, charges, gates, tau, decay_input, threshold, mode, reset, alpha, detached):  # type: ignore[no-untyped-def]
    """The gradient of `_fire` with a sigmoid surrogate of slope `alpha`: `d_spikes` [T, M], and `d_v` [M] after and, overwritten, before.

    `gates` [T, M] holds σ(α·(charge − threshold)) and is overwritten by the gradient with respect to the input. `detached`: no gradient
    flows through the reset. After spikingjelly._ops.lif.cpu, _backward_impl.
    """
    one, zero = np.float32(1), np.float32(0)
    steps, neurons = charges.shape
    for block in numba.prange((neurons + _BLOCK - 1) // _BLOCK):
        low = block * _BLOCK
        size = min(neurons - low, _BLOCK)
        carry = d_v[low : low + size]
        for t in range(steps - 1, -1, -1):
            given, charge, gate = d_spikes[t, low : low + size], charges[t, low : low + size], gates[t, low : low + size]
            for i in range(size):
                slope = (one - gate[i]) * gate[i] * alpha
                if mode == SUBTRACT:
                    through = one if detached else one - threshold * slope
                else:
                    through = zero if charge[i] - threshold >= zero else one
                    if not detached:
                        through = through + (reset - charge[i]) * slope
                found = given[i] * slope + carry[i] * through
                gate[i] = found / tau if decay_input else found
                carry[i] = found if tau == zero else found - found / tau


class _Kernel:
    """A loop with so many threads as are asked for: one starts none, so that a process may still be forked."""

    def __init__(self, loop: FunctionType) -> None:
        self.serial = numba.njit(cache=True, error_model="numpy", boundscheck=False)(loop)
        # numba keeps compiled code under a function's name, not under its options: without one of its own either would load the other's.
        other = FunctionType(loop.__code__, loop.__globals__)
        other.__qualname__ = f"{loop.__qualname__}_parallel"
        self.parallel = numba.njit(cache=True, error_model="numpy", boundscheck=False, parallel=True)(other)

    def __call__(self, threads: int, *arguments: Any) -> None:
        if threads == 1:
            self.serial(*arguments)
            return
        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            self.parallel(*arguments)
        finally:
            numba.set_num_threads(before)


fire = _Kernel(cast(FunctionType, _fire))
fire_backward = _Kernel(cast(FunctionType, _fire_backward))
