"""Files of Prophesee's cameras: .dat (version 2) and .raw in the encodings EVT 2.0, 2.1 and 3.0.

Both are decoded here from Prophesee's documentation ("DAT file format", "RAW file format", "EVT
2.0", "EVT 2.1" and "EVT 3.0"). expelliarmus, which the tests hold as an oracle on sound files,
waits for ever on a .dat whose header is cut, turns time that runs backwards into a jump of 2**32
µs, loses the overflow of EVT 2.0's clock, stops at an external trigger of EVT 3.0, takes every fall
of its low part of time for one more round (cameras write 811 and at once 800), and knows no EVT
2.1.

A refusal here does not name the file: whoever opened it does (`files.read_events`).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.events.binary import (
    beginning,
    header_end,
    refuse_half,
    refuse_too_many,
    unwrapped,
    whole_events,
)
from ahsar_eval.data.events.stream import Decoded, Sensor
from ahsar_eval.errors import DataError

_DAT_EVENTS = (0, 8), (12, 8)  # type and size in bytes of Event2d and EventCD
_ENCODINGS = {"2": "EVT2", "2.0": "EVT2", "2.1": "EVT21", "3": "EVT3", "3.0": "EVT3"}
_WORD_BYTES = {"EVT2": 4, "EVT21": 8, "EVT3": 2}
_TIME_HIGH = 8
# By loop of `kernels`: types of words that hold pixels, that hold something else, and all that are
# known.
_PIXELS = {"evt2": (0, 1), "evt3": (2, 4, 5)}
_OTHER_WORDS = {"evt2": {10: "external triggers", 14: "words of other uses", 15: "continuations"}}
_OTHER_WORDS["evt3"] = {**_OTHER_WORDS["evt2"], 7: "continuations"}
_USED = {"evt2": {0, 1, _TIME_HIGH, *_OTHER_WORDS["evt2"]}}
_USED["evt3"] = {0, 2, 3, 4, 5, 6, _TIME_HIGH, *_OTHER_WORDS["evt3"]}


def stated_in_dat(path: Path) -> Sensor | None:
    """(height, width) of the header of a .dat, None where it says nothing (N-CARS). Raises
    `DataError` for a header cut short.
    """
    return _dat_header(beginning(path))[0]


def read_dat(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """Prophesee's DAT, version 2: lines of %, type and size in a byte each, then 32 bits of µs and
    32 bits p 4, y 14, x 14.

    Raises `DataError` for another version or event type and for a cut file.
    """
    data = path.read_bytes()
    stated, start = _dat_header(data)
    t, address = whole_events(data, start, np.dtype("2<u4")).astype(np.int64).T
    x, y, p = address & 0x3FFF, (address >> 14) & 0x3FFF, address >> 28
    return Decoded(unwrapped(t, 2**32), x, y, p, stated)


def _dat_header(data: bytes) -> tuple[Sensor | None, int]:
    """(height, width) where both are stated, and where the events begin."""
    start = header_end(data, b"%", (), "a Prophesee .dat with events")
    lines = re.findall(rb"(?m)^%\s*(Version|Height|Width)\s+(\d{1,6})\s*$", data[:start])
    facts = {name.decode(): int(value) for name, value in lines}
    if facts.get("Version") != 2:
        found = f"version {facts['Version']}" if "Version" in facts else "no line '% Version 2'"
        raise DataError(f"has {found} in its header; expected a Prophesee .dat of version 2")
    kind = tuple(data[start : start + 2])
    if kind not in _DAT_EVENTS:
        said = (
            f"events of type {kind[0]} with {kind[1]} bytes" if len(kind) == 2 else "no event type"
        )
        raise DataError(
            f"states {said}; expected change events of 8 bytes (type 0 or 12); convert or remove it"
        )
    stated = (facts["Height"], facts["Width"]) if {"Height", "Width"} <= set(facts) else None
    return stated, start + 2


@dataclass(frozen=True)
class RawHeader:
    """What the header of a .raw says: `encoding` EVT2, EVT21 or EVT3, `endianness` "" where it says
    nothing of it, and the byte where the events begin.
    """

    encoding: str
    endianness: str
    sensor: Sensor | None
    start: int


def raw_header(data: bytes) -> RawHeader:
    """Of lines `% keyword value`: evt, format (EVT3;height=720;width=1280), geometry (1280x720),
    width and height. Raises `DataError` for another encoding than EVT 2.0, 2.1 and 3.0.
    """
    if not data.startswith(b"% "):
        raise DataError(
            "does not begin with a line of '% '; expected a Prophesee .raw with its header; is it "
            "misnamed?"
        )
    start = header_end(data, b"% ", (b"% end",), "a Prophesee .raw with events")
    text = data[:start].decode("ascii", "replace")
    facts = dict(re.findall(r"(?m)^% (\w+) +(.*?)\s*$", text))
    form, *options = facts.get("format", "").split(";")
    said = dict(option.partition("=")[::2] for option in options)
    version = facts.get("evt", "")
    known = {_ENCODINGS.get(version, version), form.upper()} - {""}
    if len(known) != 1 or not known <= set(_WORD_BYTES):
        found = " and ".join(sorted(known)) or "no encoding (evt or format)"
        raise DataError(
            f"states {found} in its header; expected EVT2, EVT21 or EVT3; convert or remove it"
        )
    return RawHeader(known.pop(), said.get("endianness", ""), _stated(facts | said), start)


def _stated(facts: Mapping[str, str]) -> Sensor | None:
    sizes = [facts.get("height", ""), facts.get("width", "")]
    if match := re.fullmatch(r"(\d+)x(\d+)", facts.get("geometry", "")):
        sizes = [match[2], match[1]]
    if all(re.fullmatch(r"[1-9]\d{0,4}", size) for size in sizes):
        return int(sizes[0]), int(sizes[1])
    return None


def stated_in_raw(path: Path) -> Sensor | None:
    """(height, width) of the header of a .raw, None where it says nothing. Raises `DataError` for
    what is no .raw of a known encoding.
    """
    return raw_header(beginning(path)).sensor


def read_raw(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """A .raw of EVT 2.0, 2.1 or 3.0, in little-endian words, or as its header says.

    What is no event of a pixel is left out and counted: external triggers, words of other uses,
    and events before the first word of time. Raises `DataError` for words of no known type in
    number, and for a cut file.
    """
    data = path.read_bytes()
    header = raw_header(data)
    order = ">" if header.endianness == "big" else "<"
    layout = np.dtype(f"{order}u{min(_WORD_BYTES[header.encoding], 4)}")
    refuse_half(data, header.start, _WORD_BYTES[header.encoding])
    words = np.frombuffer(data, layout, offset=header.start)
    if header.encoding == "EVT3":
        return _decoded("evt3", (words,), header.sensor)
    if header.encoding == "EVT2":
        heads, masks = words, np.ones_like(words)
    else:
        heads, masks = _halves(words.reshape(-1, 2), header.endianness)
    return _decoded("evt2", (heads, masks), header.sensor)


def _halves(words: NDArray[Any], endianness: str) -> tuple[NDArray[Any], NDArray[Any]]:
    """The upper half of each word of 64 bits, with type and address, and the lower, with a bit for
    each of 32 pixels.

    The upper half lies behind in a little-endian word (GenX320), before in a big-endian one and in
    that of the IMX636 ("legacy"). Where the header says nothing, it is the half of the first word
    that is a time. Raises `DataError` where it is both or none.
    """
    if endianness:
        known = {"little": 1, "legacy": 0, "big": 0}
        if endianness not in known:
            raise DataError(
                f"states the byte order {endianness!r} in its header; expected {', '.join(known)}"
            )
        upper = known[endianness]
    else:
        times = [half for half in (0, 1) if len(words) and words[0, half] >> 28 == _TIME_HIGH]
        if len(times) != 1:
            raise DataError(
                "does not state the byte order of its EVT 2.1 and does not begin with a time, by "
                "which it could be told; write endianness=legacy (IMX636) or endianness=little "
                "(GenX320) into the line '% format EVT21;…' of its header"
            )
        upper = times[0]
    return words[:, upper], words[:, 1 - upper]


def _decoded(loop: str, words: tuple[NDArray[Any], ...], sensor: Sensor | None) -> Decoded:
    """The events of `words` by a loop of `kernels`, and what was left out. Raises `DataError` for
    more words of unknown type than of pixels.
    """
    from ahsar_eval.data.events import kernels

    decode = getattr(kernels, loop)
    words = tuple(np.ascontiguousarray(part, part.dtype.newbyteorder("=")) for part in words)
    numbers = np.zeros(16, np.int64)
    count, early = decode(*words, numbers, *_empty_columns(0))
    refuse_too_many(count)
    t, x, y, p = columns = _empty_columns(count)
    decode(*words, np.zeros(16, np.int64), *columns)
    unknown = sum(number for kind, number in enumerate(numbers.tolist()) if kind not in _USED[loop])
    if unknown > sum(numbers[kind] for kind in _PIXELS[loop]):
        raise DataError(
            f"has {unknown:,} of {len(words[0]):,} words of no type of its encoding; expected "
            "events; is its header that of another file? copy it again or remove it"
        )
    skipped: dict[str, int] = {"events before the first time": early, "unknown words": unknown}
    for kind, name in _OTHER_WORDS[loop].items():
        skipped[name] = skipped.get(name, 0) + int(numbers[kind])
    return Decoded(t, x, y, p, sensor, {name: number for name, number in skipped.items() if number})


def _empty_columns(count: int) -> list[NDArray[Any]]:
    """Of t, x, y and p."""
    return [np.empty(count, kind) for kind in (np.int64, np.int32, np.int32, np.uint8)]
