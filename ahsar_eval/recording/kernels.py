"""Loops over neurons, time steps and spikes, compiled by numba when first used (kept compiled
between runs).

Elements are independent of each other, so no bit depends on the number of threads. In spiking
layers every operation is the one that SpikingJelly writes, in its order, nothing contracted or
re-associated: no bit depends on the machine. Convolutions sum in one fixed order; products with
values other than one, and the norm's, are fused with the sum where the processor can, as torch's
are there.
"""

from types import FunctionType
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from ahsar_eval.process import njit
from ahsar_eval.recording.engine import LANES, SUBTRACT

_BLOCK = 4096  # neurons whose potentials stay in the fastest cache over all steps


class _Kernel:
    """A loop with as many threads as torch has: one starts none, so that a process may still be
    forked.
    """

    def __init__(self, loop: Any) -> None:
        self.serial = njit(error_model="numpy", boundscheck=False)(loop)
        # numba keeps compiled code under a function's name, not under its options: without one of
        # its own either would load the other's.
        other = FunctionType(loop.__code__, loop.__globals__)
        other.__qualname__ = f"{loop.__qualname__}_parallel"
        self.parallel = njit(error_model="numpy", boundscheck=False, parallel=True)(other)

    def __call__(self, *arguments: Any) -> None:
        threads = torch.get_num_threads()
        if threads == 1:
            self.serial(*arguments)
            return
        before = numba.get_num_threads()
        numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        try:
            self.parallel(*arguments)
        finally:
            numba.set_num_threads(before)


@_Kernel
def fire(x, v, tau, decay_input, threshold, mode, reset, spikes, counts, charges):  # type: ignore[no-untyped-def]
    """LIF, or IF where `tau` is 0, of M neurons: `x` [T, M] (or [1, M], the same at every step),
    potentials `v` [M] before and after.

    Writes `spikes` [T, M], their sums over T, `counts` [M], and unless it is empty `charges` [T,
    M], the potentials that are compared with the threshold. After
    spikingjelly.activation_based.functional, lif_step and if_step.
    """
    one, zero = np.float32(1), np.float32(0)
    neurons, last, kept = spikes.shape[1], len(x) - 1, len(charges) > 0
    for block in numba.prange((neurons + _BLOCK - 1) // _BLOCK):
        low = block * _BLOCK
        size = min(neurons - low, _BLOCK)
        potential, fired = v[low : low + size], counts[low : low + size]
        fired[:] = zero
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
                potential[i] = (
                    charged - spike * threshold
                    if mode == SUBTRACT
                    else spike * reset + (one - spike) * charged
                )


@_Kernel
def fire_backward(  # type: ignore[no-untyped-def]
    d_spikes, d_v, charges, gates, tau, decay_input, threshold, mode, reset, alpha, detached
):
    """The gradient of `fire` with a sigmoid surrogate of slope `alpha`: `d_spikes` [T, M], and
    `d_v` [M] after and, overwritten, before.

    `gates` [T, M] holds σ(α·(charge − threshold)) and is overwritten by the gradient with respect
    to the input. `detached`: no gradient flows through the reset. After spikingjelly._ops.lif.cpu,
    _backward_impl.
    """
    one, zero = np.float32(1), np.float32(0)
    steps, neurons = charges.shape
    for block in numba.prange((neurons + _BLOCK - 1) // _BLOCK):
        low = block * _BLOCK
        size = min(neurons - low, _BLOCK)
        carry = d_v[low : low + size]
        for t in range(steps - 1, -1, -1):
            given, charge, gate = (
                d_spikes[t, low : low + size],
                charges[t, low : low + size],
                gates[t, low : low + size],
            )
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


_GROUP = (
    1 << 18
)  # bytes of events and sums of the images that share a block of weights while it lies in a cache
_LARGEST_GROUP = 8  # images: threads take groups, and a batch should have enough for all of them


def _fmuladd(builder: Any, kind: Any, name: str, *factors_and_summand: Any) -> Any:
    """A product and a sum in LLVM, rounded once where the machine can."""
    signature = ir.FunctionType(kind, [kind] * 3)
    fused = cgutils.get_or_insert_function(builder.module, signature, f"llvm.fmuladd.{name}")
    return builder.call(fused, factors_and_summand)


def _row_adder(vectors: int, scaled: bool) -> Any:
    """An intrinsic that adds rows of weights, `vectors` times 16 values each, to an accumulator
    that stays in registers meanwhile.

    add(out, weights, events, x, number, at), `at` the places (of out, weights, events, x), adds to
    out[at …] the rows at + 16·vectors·event of `weights` for `number` > 0 events, one after the
    other, each times x[at + event] where `scaled` (fused where the machine can). All places are
    counted in elements. LLVM does not keep an array in registers over a loop of unknown length by
    itself.
    """

    @intrinsic  # type: ignore[untyped-decorator]
    def add_rows(typing, out, weights, events, x, number, at):  # type: ignore[no-untyped-def]
        signature = types.void(out, weights, events, x, number, at)

        def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
            def address(i: int) -> Any:
                array = context.make_array(signature.args[i])(context, builder, arguments[i])
                return builder.gep(array.data, [builder.extract_value(arguments[5], i)])

            word, lane = ir.IntType(64), ir.IntType(32)
            vector = ir.VectorType(ir.FloatType(), LANES)
            base, weight, event, factor = (address(i) for i in range(4))
            offsets = [ir.Constant(word, i * LANES) for i in range(vectors)]

            def parts(row: Any) -> list[Any]:
                places = [builder.gep(row, [offset]) for offset in offsets]
                return [builder.bitcast(place, vector.as_pointer()) for place in places]

            places, sums = parts(base), [cgutils.alloca_once(builder, vector) for _ in offsets]
            for place, total in zip(places, sums, strict=True):
                builder.store(builder.load(place, align=4), total)
            with cgutils.for_range(builder, arguments[4]) as loop:
                index = builder.zext(builder.load(builder.gep(event, [loop.index])), word)
                row = builder.gep(weight, [builder.mul(index, ir.Constant(word, vectors * LANES))])
                empty = ir.Constant(vector, ir.Undefined)
                value = builder.load(builder.gep(factor, [index]))
                one = builder.insert_element(empty, value, ir.Constant(lane, 0))
                spread = ir.Constant(ir.VectorType(lane, LANES), [0] * LANES)
                factors = builder.shuffle_vector(one, empty, spread)
                for place, total in zip(parts(row), sums, strict=True):
                    added, before = builder.load(place, align=4), builder.load(total)
                    if scaled:
                        after = _fmuladd(builder, vector, f"v{LANES}f32", factors, added, before)
                    else:
                        after = builder.fadd(before, added)
                    builder.store(after, total)
            for place, total in zip(places, sums, strict=True):
                builder.store(builder.load(total), place, align=4)
            return context.get_dummy_value()

        return signature, generate

    return add_rows


_add_1, _add_2, _add_4 = (_row_adder(vectors, False) for vectors in (1, 2, 4))
_add_scaled_1, _add_scaled_2, _add_scaled_4 = (_row_adder(vectors, True) for vectors in (1, 2, 4))


@intrinsic  # type: ignore[untyped-decorator]
def _fused(typing, x, factor, summand):  # type: ignore[no-untyped-def]
    """x·factor + summand, rounded once where the machine can."""

    def generate(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        return _fmuladd(builder, ir.FloatType(), "f32", *arguments)

    return types.float32(types.float32, types.float32, types.float32), generate


@_Kernel
def convolve_events(x, weights, kernel, stride, padding, dilation, bias, factor, summand, out):  # type: ignore[no-untyped-def]
    """A convolution that visits only what is not zero: `x` [B, H, W, C] and `weights` [K/k, kh·kw,
    C, k] to `out` [B, H', W', K].

    k is 16, 32 or 64. `bias` is added last, and the sum becomes factor·sum + summand, fused; each
    [K], or empty for none. An output sums in the order of rows and columns of the kernel, then of
    channels, in float32, as oneDNN does for images that lie channels last: on such machines the
    sums are the same to the bit.
    """
    batch, height, width, channels = x.shape
    _, out_height, out_width, outputs = out.shape
    blocks, _, _, wide = weights.shape
    places = height * width
    together = min(
        _LARGEST_GROUP,
        max(1, _GROUP // (places * channels * 2 + out_height * out_width * wide * 4)),
    )
    for group in numba.prange((batch + together - 1) // together):
        first = group * together
        size = min(batch - first, together)
        events = np.empty((size * places, channels), np.uint16)
        numbers = np.empty(size * places, np.uint32)
        images = x[first : first + size].reshape(size * places, channels)
        others = 0
        for place in range(size * places):
            found = np.uint64(0)
            for c in range(channels):
                events[place, found] = c  # overwritten unless it counts: no branch to mispredict
                found += np.uint64(images[place, c] != 0)
            numbers[place] = found
            for c in range(channels):
                others += (images[place, c] != 0) & (images[place, c] != 1)
        ones = others == 0
        out[first : first + size] = 0
        for block in range(blocks):
            for dy in range(kernel[0]):
                for dx in range(kernel[1]):
                    at_weights = np.uint64(
                        ((block * kernel[0] + dy) * kernel[1] + dx) * channels * wide
                    )
                    for row in range(size * out_height):
                        image, y = row // out_height, row % out_height
                        from_y = y * stride[0] + dy * dilation[0] - padding[0]
                        if from_y < 0 or from_y >= height:
                            continue
                        for column in range(out_width):
                            from_x = column * stride[1] + dx * dilation[1] - padding[1]
                            if from_x < 0 or from_x >= width:
                                continue
                            place = image * places + from_y * width + from_x
                            number = np.uint64(numbers[place])
                            if number == 0:
                                continue
                            pixel = (first * out_height + row) * out_width + column
                            at = (
                                np.uint64(pixel * outputs + block * wide),
                                at_weights,
                                np.uint64(place * channels),
                                np.uint64((first * places + place) * channels),
                            )
                            if ones:
                                if wide == 4 * LANES:
                                    _add_4(out, weights, events, x, number, at)
                                elif wide == 2 * LANES:
                                    _add_2(out, weights, events, x, number, at)
                                else:
                                    _add_1(out, weights, events, x, number, at)
                            elif wide == 4 * LANES:
                                _add_scaled_4(out, weights, events, x, number, at)
                            elif wide == 2 * LANES:
                                _add_scaled_2(out, weights, events, x, number, at)
                            else:
                                _add_scaled_1(out, weights, events, x, number, at)
        for row in range(size * out_height):
            for column in range(out_width):
                total = out[first + row // out_height, row % out_height, column]
                if len(bias) > 0:
                    for k in range(outputs):
                        total[k] += bias[k]
                if len(factor) > 0:
                    for k in range(outputs):
                        total[k] = _fused(total[k], factor[k], summand[k])
