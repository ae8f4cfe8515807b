"""Raw addresses of cameras: N-MNIST's five bytes (.bin), Prophesee's .dat. Both are decoded here,
bit by bit.

tonic's `read_mnist_file` adds overflows one by one to unsigned 32-bit times, which wrap and take
quadratic time on a hostile file; expelliarmus waits for ever on a .dat whose header is cut, and
turns time that runs backwards into a jump of 2**32 µs. The tests hold both as oracles on sound
files.
"""

import re
from pathlib import Path

import numpy as np

from ahsar_eval.data.events.decoded import Decoded, Sensor
from ahsar_eval.errors import DataError

_OVERFLOW_ROW = (
    240  # the ATIS has rows 0 to 239: an "event" of row 240 says that a clock of 13 bits went round
)
_OVERFLOW_US = 2**13
_DAT_CD_EVENTS = (0, 12)  # Event2d, EventCD
_DAT_EVENT_BYTES = 8


def read_bin(path: Path, form: str | None, sensor: Sensor | None) -> Decoded:
    """N-MNIST and N-Caltech101: 40 bits an event (x 8, y 8, polarity 1, time 23 in µs, most
    significant first).

    The format is that of the sets' own pages; the overflow rule is in the reader of their author
    (event-Python, `read_dataset`) and in tonic. None of 1,100 real N-MNIST files has such an event.
    Raises `DataError` for a length that is no multiple of five bytes.
    """
    data = path.read_bytes()
    if len(data) % 5:
        raise DataError(
            f"{path} has {len(data)} bytes; expected a multiple of 5 (an ATIS event has 40 bits); "
            "copy it again or remove it"
        )
    rows = np.frombuffer(data, dtype=np.uint8).reshape(-1, 5)
    x, y = rows[:, 0].astype(np.int64), rows[:, 1].astype(np.int64)
    high = rows[:, 2].astype(np.int64)
    t = ((high & 127) << 16) | (rows[:, 3].astype(np.int64) << 8) | rows[:, 4]
    overflow = y == _OVERFLOW_ROW
    t = t + _OVERFLOW_US * np.cumsum(overflow)
    real = ~overflow
    return Decoded(t[real], x[real], y[real], (high >> 7)[real])


def stated_in_dat(path: Path) -> Sensor | None:
    """(height, width) of the header of a .dat, None where it says nothing (N-CARS). Raises
    `DataError` for a header cut short.
    """
    with open(path, "rb") as reader:
        return _dat_header(path, reader.read(65536))[0]


def read_dat(path: Path, form: str | None, sensor: Sensor | None) -> Decoded:
    """Prophesee's DAT, version 2: lines of %, type and size in a byte each, then 32 bits of µs and
    32 bits p 4, y 14, x 14.

    Source: Prophesee's documentation, "DAT file format". Raises `DataError` for another version or
    event type and for a cut file.
    """
    data = path.read_bytes()
    stated, start = _dat_header(path, data)
    body = len(data) - start
    if body % _DAT_EVENT_BYTES:
        raise DataError(
            f"{path} has {body} bytes of events; expected a multiple of 8; copy it again or remove "
            "it"
        )
    words = np.frombuffer(data, dtype="<u4", offset=start).reshape(-1, 2).astype(np.int64)
    address = words[:, 1]
    return Decoded(words[:, 0], address & 0x3FFF, (address >> 14) & 0x3FFF, address >> 28, stated)


def _dat_header(path: Path, data: bytes) -> tuple[Sensor | None, int]:
    start, facts = 0, {}
    while data[start : start + 1] == b"%":
        end = data.find(b"\n", start)
        if end < 0:
            raise DataError(
                f"{path} ends within its header; expected a Prophesee .dat with events; copy it "
                "again or remove it"
            )
        if match := re.match(rb"%\s*(Version|Height|Width)\s+(\d{1,6})\s*$", data[start:end]):
            facts[match[1].decode()] = int(match[2])
        start = end + 1
    if facts.get("Version") != 2:
        found = f"version {facts['Version']}" if "Version" in facts else "no line '% Version 2'"
        raise DataError(f"{path} has {found} in its header; expected a Prophesee .dat of version 2")
    kind = tuple(data[start : start + 2])
    if len(kind) < 2 or kind[0] not in _DAT_CD_EVENTS or kind[1] != _DAT_EVENT_BYTES:
        said = (
            f"events of type {kind[0]} with {kind[1]} bytes" if len(kind) == 2 else "no event type"
        )
        raise DataError(
            f"{path} states {said}; expected change events of 8 bytes (type 0 or 12); convert or "
            "remove it"
        )
    sensor = (facts["Height"], facts["Width"]) if {"Height", "Width"} <= set(facts) else None
    return sensor, start + 2
