"""Loops over neurons and time steps, compiled by numba when first used (kept compiled between runs).

Elements are independent of each other and every operation is the one that SpikingJelly writes, in its order; nothing is contracted to a
fused multiply-add, nothing re-associated. So no bit depends on the number of threads or on the machine.
"""

from typing import Any

import numba
import numpy as np

_BLOCK = 4096  # neurons whose potentials stay in the fastest cache over all steps
SUBTRACT, SET = 0, 1  # what a spike does to the potential


def _fire(x, v, tau, decay_input, threshold, mode, reset, spikes, counts):  # type: ignore[no-untyped-def]
    """LIF, or IF where `tau` is 0, of M neurons: `x` [T, M] (or [1, M], the same at every step), potentials `v` [M] before and after.

    Writes `spikes` [T, M] and their sums over T, `counts` [M]. After spikingjelly.activation_based.functional, lif_step and if_step.
    """
    one, zero = np.float32(1), np.float32(0)
    neurons, last = spikes.shape[1], len(x) - 1
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
                spike = one if charged - threshold >= zero else zero
                out[i] = spike
                fired[i] += spike
                potential[i] = charged - spike * threshold if mode == SUBTRACT else spike * reset + (one - spike) * charged


_SERIAL = numba.njit(cache=True, error_model="numpy", boundscheck=False)(_fire)
_PARALLEL = numba.njit(cache=True, error_model="numpy", boundscheck=False, parallel=True)(_fire)


def fire(threads: int, *arguments: Any) -> None:
    """`_fire` with so many threads: one starts none, so that a process may still be forked."""
    if threads == 1:
        _SERIAL(*arguments)
        return
    before = numba.get_num_threads()
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
    try:
        _PARALLEL(*arguments)
    finally:
        numba.set_num_threads(before)
