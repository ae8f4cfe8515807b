"""Loops over the words of Prophesee's encodings, compiled by numba when first used (kept compiled
between runs).

Each gives the number of its events, and of those left out because no time came before them; it
adds to `kinds` [16] the words of each type, and writes the events that `t`, `x`, `y` and `p` [E]
have room for, so that empty ones count.
"""

from ahsar_eval.process import njit

_HALF_28, _HALF_12 = 2**27, 2**11


@njit()
def evt2(heads, masks, kinds, t, x, y, p):  # type: ignore[no-untyped-def]
    """EVT 2.0 and 2.1: `heads` [W] uint32 hold type 4 bits, low bits of time 6, x 11, y 11; a time
    holds type 4, high bits 28. Bit i of `masks` [W] uint32 is an event at x + i.
    """
    high, rounds, count, early = -1, 0, 0, 0
    for i in range(len(heads)):
        head, mask = int(heads[i]), int(masks[i])
        kind = head >> 28
        kinds[kind] += 1
        if kind == 8:
            new = head & 0xFFFFFFF
            rounds += high - new > _HALF_28
            high = new
        elif kind <= 1:
            for bit in range(32):
                if not (mask >> bit) & 1:
                    continue
                if high < 0:
                    early += 1
                    continue
                if count < len(t):
                    t[count] = (rounds << 34) | (high << 6) | ((head >> 22) & 0x3F)
                    x[count] = ((head >> 11) & 0x7FF) + bit
                    y[count] = head & 0x7FF
                    p[count] = kind
                count += 1
    return count, early


@njit()
def evt3(words, kinds, t, x, y, p):  # type: ignore[no-untyped-def]
    """EVT 3.0: `words` [W] uint16 hold type 4 bits and 12 that change one part of a state: y (0),
    base x and polarity of vectors (3), low (6) and high (8) bits of time. An event is at an x (2),
    or at each set bit of a vector of 12 (4) or 8 (5) from the base on, which moves on by as many.

    A new high part sets the low one to 0: until the low one follows, the old is that of a time
    gone by. Events before the first time, row or base are left out.
    """
    high, low, rounds, count, early = -1, 0, 0, 0, 0
    row, base, polarity = -1, -1, 0
    for i in range(len(words)):
        word = int(words[i])
        kind, value = word >> 12, word & 0xFFF
        kinds[kind] += 1
        if kind == 0:
            row = value & 0x7FF
        elif kind == 3:
            base, polarity = value & 0x7FF, value >> 11
        elif kind == 6:
            low = value
        elif kind == 8:
            rounds += high - value > _HALF_12
            if value != high:
                low = 0
            high = value
        elif kind == 2 or kind == 4 or kind == 5:
            if kind == 2:
                first, size, mask, sign = value & 0x7FF, 1, 1, value >> 11
            else:
                first, size, mask, sign = base, 12 if kind == 4 else 8, value, polarity
                base += size * (base >= 0)
            for bit in range(size):
                if not (mask >> bit) & 1:
                    continue
                if high < 0 or row < 0 or first < 0:
                    early += 1
                    continue
                if count < len(t):
                    t[count] = (rounds << 24) | (high << 12) | low
                    x[count], y[count], p[count] = first + bit, row, sign
                count += 1
    return count, early
