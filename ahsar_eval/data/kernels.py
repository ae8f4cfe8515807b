"""Loops that no tensor operation covers, compiled by numba when first used (kept compiled between
runs).
"""

import math

import numpy as np

from ahsar_eval.process import njit

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)
# Philox 4×32: multipliers and Weyl increments (Salmon et al. 2011, table 2 and section 4).
_M0, _M1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
_W0, _W1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
_TO_UNIT = np.float32(2.0**-24)
_8 = np.uint64(8)


@njit(inline="always")
def philox(key0, key1, a, b, c, d):  # type: ignore[no-untyped-def]
    """Ten rounds on the counter (a, b, c, d): four 32-bit words, held in 64 bits."""
    for _ in range(10):
        product0, product1 = _M0 * a, _M1 * c
        a, b, c, d = (
            (product1 >> _32) ^ b ^ key0,
            product1 & _LOW,
            (product0 >> _32) ^ d ^ key1,
            product0 & _LOW,
        )
        key0, key1 = (key0 + _W0) & _LOW, (key1 + _W1) & _LOW
    return a, b, c, d


@njit()
def fill_uniform(key0, key1, draw, indices, out):  # type: ignore[no-untyped-def]
    """Uniform numbers in [0, 1) for each of `indices` [N] uint64 into `out` [N, 4,
    blocks] float32."""
    for n in range(len(indices)):
        low, high = indices[n] & _LOW, indices[n] >> _32
        for block in range(out.shape[2]):
            words = philox(key0, key1, np.uint64(block), draw, low, high)
            for place in range(4):
                out[n, place, block] = np.float32(np.int32(words[place] >> _8)) * _TO_UNIT


_LOG_FACTORIAL = np.array([math.lgamma(count + 1.0) for count in range(1024)])


@njit()
def fill_poisson(key0, key1, draw, indices, rates, uniforms, out):  # type: ignore[no-untyped-def]
    """Poisson counts of expectations `rates` [N, n] float32 into `out`; `uniforms` [N, 2, n] serve
    the first attempt of each value.

    Hörmann's transformed rejection (PTRS, 1993) from an expectation of 10 on, inversion below.
    Later attempts of a value take counters of their own, so that no value's fate moves another's.
    """
    unit = 1.0 / 4294967296.0
    for n in range(len(indices)):
        low, high = indices[n] & _LOW, indices[n] >> _32
        for i in range(rates.shape[1]):
            rate = float(rates[n, i])
            u, v = float(uniforms[n, 0, i]), float(uniforms[n, 1, i])
            count = 0.0
            if not rate > 0.0:
                count = rate if math.isnan(rate) else 0.0
            elif rate < 10.0:
                u += v * 2.0**-24  # 48 bits: the tail is not cut off
                term = math.exp(-rate)
                total = term
                while u > total and count < 100.0:
                    count += 1.0
                    term *= rate / count
                    total += term
            else:
                root = math.sqrt(rate)
                slope = 0.931 + 2.53 * root
                shift = -0.059 + 0.02483 * slope
                squeeze = 0.9277 - 3.6224 / (slope - 2.0)
                attempt = np.uint64(0)
                while True:
                    u -= 0.5
                    centred = 0.5 - abs(u)
                    if centred > 0.0:
                        count = math.floor((2.0 * shift / centred + slope) * u + rate + 0.43)
                        if centred >= 0.07 and v <= squeeze:
                            break
                        if count >= 0.0 and (centred >= 0.013 or v <= centred) and v > 0.0:
                            inverse = 1.1239 + 1.1328 / (slope - 3.4)
                            log_factorial = (
                                _LOG_FACTORIAL[int(count)]
                                if count < 1024.0
                                else math.lgamma(count + 1.0)
                            )
                            bound = -rate + count * math.log(rate) - log_factorial
                            if (
                                math.log(v * inverse / (shift / (centred * centred) + slope))
                                <= bound
                            ):
                                break
                    attempt += np.uint64(1)
                    a, b, _, _ = philox(
                        key0, key1, np.uint64(i), draw | (attempt << np.uint64(8)), low, high
                    )
                    u, v = (float(np.int64(a)) + 0.5) * unit, (float(np.int64(b)) + 0.5) * unit
            out[n, i] = count


@njit()
def smear(images, rows, columns, weights, out):  # type: ignore[no-untyped-def]
    """`out`[n, c, y, x] = Σ_i weights[i] · images[n, c, y + rows[n, i], x + columns[n, i]], the
    border continued; float32 [N, C, H, W].
    """
    count, channels, height, width = images.shape
    for n in range(count):
        for c in range(channels):
            out[n, c] = 0.0
            for i in range(len(weights)):
                weight, down, right = weights[i], rows[n, i], columns[n, i]
                for y in range(height):
                    source = images[n, c, min(max(y + down, 0), height - 1)]
                    for x in range(width):
                        out[n, c, y, x] += weight * source[min(max(x + right, 0), width - 1)]


@njit()
def outside_dead_time(t, pixel, last, dead_us, kept):  # type: ignore[no-untyped-def]
    """Into `kept` [E] bool which events, at `t` [E] in µs and in time order, come more than
    `dead_us` after the last kept one of their `pixel` [E]; `last` [pixels] are those times.
    """
    for i in range(len(t)):
        kept[i] = t[i] - last[pixel[i]] > dead_us
        if kept[i]:
            last[pixel[i]] = t[i]


_FAR = np.float32(1e6)
# Of Borgefors' 5×5 mask (1986) the places before its centre: down, right, and the length of a step
# to there, by its square.
_LENGTHS = {1: np.float32(1.0), 2: np.float32(1.4), 5: np.float32(2.1969)}
_STEPS = tuple(
    (y, x, _LENGTHS[y * y + x * x])
    for y in (-2, -1, 0)
    for x in (-2, -1, 0, 1, 2)
    if (y, x) < (0, 0) and y * y + x * x in _LENGTHS
)


@njit()
def sweep(padded):  # type: ignore[no-untyped-def]
    """Reach each place by a step from a place before it."""
    for y in range(2, padded.shape[0] - 2):
        for x in range(2, padded.shape[1] - 2):
            for down, right, length in _STEPS:
                padded[y, x] = min(padded[y, x], padded[y + down, x + right] + length)


@njit()
def chamfer(edges, out):  # type: ignore[no-untyped-def]
    """Distance in pixels of every place to the nearest edge, `edges` [N, H, W] bool → `out`
    float32, by two sweeps of a 5×5 mask.

    Steps of 1, 1.4 and 2.1969 (Borgefors 1986), which is what OpenCV's distanceTransform with
    DIST_L2 and mask 5 computes.
    """
    count, height, width = edges.shape
    padded = np.empty((height + 4, width + 4), dtype=np.float32)
    for n in range(count):
        padded[:] = _FAR
        padded[2:-2, 2:-2] = np.where(edges[n], np.float32(0.0), _FAR)
        sweep(padded)
        sweep(padded[::-1, ::-1])
        out[n] = padded[2:-2, 2:-2]


@njit()
def weighted_sums(matrix, plane, out):  # type: ignore[no-untyped-def]
    """(matrix · plane)ᵀ into `out`, for a sparse matrix of `sandwich`."""
    starts, places, weights = matrix
    width = plane.shape[1]
    line = np.empty(width, dtype=np.float32)
    for i in range(len(starts) - 1):
        line[:] = np.float32(0.0)
        for k in range(starts[i], starts[i + 1]):
            weight, source = weights[k], plane[places[k]]
            for x in range(width):
                line[x] += weight * source[x]
        for x in range(width):
            out[x, i] = line[x]


@njit()
def sandwich(planes, rows, columns, out):  # type: ignore[no-untyped-def]
    """rows · plane · columnsᵀ for `planes` [N, H, W] float32 into `out` [N, H', W']; sparse
    matrices (starts, places, weights), row i's in starts[i] … starts[i + 1].

    Every value is summed in one order, whatever N is, without fused products: the same bits in any
    batch and on any processor.
    """
    turned = np.empty((planes.shape[2], out.shape[1]), dtype=np.float32)
    for n in range(len(planes)):
        weighted_sums(rows, planes[n], turned)
        weighted_sums(columns, turned, out[n])
