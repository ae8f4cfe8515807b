"""AEDAT, the format of iniVation's cameras: versions 1 and 2 (jAER), 3 (cAER; DVS128 Gesture) and 4
(DV).

Versions 1 to 3 are decoded here: tonic's event primitives take every packet of a version 3 file for
polarity events, drop the time overflow and read past a cut packet. Layouts: iniVation, "AEDAT file
formats"; jAER, `DVS128` and `DavisBaseCamera`.
"""

import re
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ahsar_eval.data.events.decoded import Decoded, Sensor
from ahsar_eval.errors import DataError

CHIPS: dict[str, Sensor] = {
    "dvs128": (128, 128),
    "davis240": (180, 240),
    "davis346": (260, 346),
    "davis640": (480, 640),
}
_HEADER_ENDS = (b"#!END-HEADER", b"#End Of ASCII Header")
_PACKET_HEADER = struct.Struct("<hhiiiiii")
_POLARITY_EVENT = 1


def stated_in_aedat(path: Path) -> Sensor | None:
    """(height, width) of the camera a file names, None where it names none that is known. Raises
    `DataError` for a foreign file.
    """
    with open(path, "rb") as reader:
        start = reader.read(65536)
    if start.startswith(b"#!AER-DAT4"):
        return _stream(path)[2]
    chip = _header(path, start)[1]
    return CHIPS.get(chip or "")


def read_aedat(path: Path, form: str | None, sensor: Sensor | None) -> Decoded:
    """Events of an .aedat or .aedat4 file, x to the right and y down from the top left corner.

    Versions 1 and 2 hold raw addresses, whose meaning is the camera's: of the header's AEChip, or
    DVS128 where the sensor is declared as 128×128. jAER counts x of both cameras from the right and
    y from below, and stores 1 for OFF in a DVS128 address (0 for OFF in a DAVIS address). With
    `form` cifar10-dvs the picture, recorded with the camera on its side, is put upright as
    SpikingJelly does: x = 127 − row, y = 127 − column of the address. Version 3 and 4 state x, y
    and polarity themselves. Raises `DataError`.
    """
    with open(path, "rb") as reader:
        first = reader.read(10)
    if first.startswith(b"#!AER-DAT4"):
        return _version_4(path)
    data = path.read_bytes()
    version, chip, start = _header(path, data)
    if version == 3:
        return _version_3(path, data, start, CHIPS.get(chip or ""))
    size = 6 if version == 1 else 8
    body = len(data) - start
    if body % size:
        raise DataError(
            f"{path} has {body} bytes of events; expected a multiple of {size}; copy it again or "
            "remove it"
        )
    layout = np.dtype([("address", ">u2" if version == 1 else ">u4"), ("t", ">i4")])
    events = np.frombuffer(data, dtype=layout, offset=start)
    return _of_addresses(
        path, events["address"].astype(np.int64), events["t"].astype(np.int64), chip, form, sensor
    )


def _header(path: Path, data: bytes) -> tuple[int, str | None, int]:
    """Version, chip and where the events begin."""
    known = re.match(rb"#!AER-DAT([123])(?:\.\d+)?\s", data)
    if known is None:
        raise DataError(
            f"{path} does not begin with #!AER-DAT and a version from 1 to 4; expected an AEDAT "
            "file; is it misnamed?"
        )
    start, chip = 0, None
    while data[start : start + 1] == b"#":
        end = data.find(b"\n", start)
        if end < 0:
            raise DataError(
                f"{path} ends within its header; expected AEDAT events; copy it again or remove it"
            )
        line = data[start:end].rstrip(b"\r")
        start = end + 1
        if named := re.search(rb"(?:AEChip:|Source \d+:)\s*(\S+)", line):
            camera = named[1].decode("ascii", "replace").lower()
            chip = next((name for name in CHIPS if name in camera), chip)
        if line.startswith(_HEADER_ENDS):
            break
    return int(known[1]), chip, start


def _of_addresses(
    path: Path,
    address: NDArray[np.int64],
    t: NDArray[np.int64],
    chip: str | None,
    form: str | None,
    sensor: Sensor | None,
) -> Decoded:
    if form == "cifar10-dvs" or chip == "dvs128" or (chip is None and sensor == CHIPS["dvs128"]):
        keep = (address & 0x80008000) == 0  # synchronisation and special events carry no pixel
        address, t = address[keep], t[keep]
        column, row, p = (address >> 1) & 127, (address >> 8) & 127, 1 - (address & 1)
        if form == "cifar10-dvs":
            return Decoded(t, 127 - row, 127 - column, p, CHIPS["dvs128"])
        return Decoded(t, 127 - column, 127 - row, p, CHIPS["dvs128"])
    if chip is None:
        raise DataError(
            f"{path} names no camera that is known ({', '.join(CHIPS)}), so its addresses cannot "
            "be read; convert it to .aedat4, or state "
            "a sensor of 128x128 where it is a DVS128"
        )
    height, width = CHIPS[chip]
    keep = (address & 0x80000400) == 0  # frames and inertial samples are mixed in
    address, t = address[keep], t[keep]
    return Decoded(
        t,
        width - 1 - ((address >> 12) & 1023),
        height - 1 - ((address >> 22) & 511),
        (address >> 11) & 1,
        (height, width),
    )


def _version_3(path: Path, data: bytes, start: int, stated: Sensor | None) -> Decoded:
    words, overflows = [], []
    while start < len(data):
        if len(data) - start < _PACKET_HEADER.size:
            raise DataError(
                f"{path} ends within a packet header; expected whole AEDAT 3 packets; copy it "
                "again or remove it"
            )
        kind, _, size, _, overflow, capacity, number, _ = _PACKET_HEADER.unpack_from(data, start)
        start += _PACKET_HEADER.size
        if (
            size < 1
            or not 0 <= number <= capacity
            or overflow < 0
            or (kind == _POLARITY_EVENT and size != 8)
        ):
            raise DataError(
                f"{path} has a packet of type {kind} that states {number} of {capacity} events of "
                f"{size} bytes; expected an AEDAT 3 "
                "packet; copy it again or remove it"
            )
        if len(data) - start < size * capacity:
            raise DataError(
                f"{path} ends within a packet ({len(data) - start} of {size * capacity} bytes); "
                "expected whole AEDAT 3 packets; "
                "copy it again or remove it"
            )
        if kind == _POLARITY_EVENT and number:
            words.append(
                np.frombuffer(data, dtype="<u4", count=2 * number, offset=start).reshape(-1, 2)
            )
            overflows.append(np.full(number, overflow, dtype=np.int64))
        start += size * capacity
    if not words:
        raise DataError(f"{path} holds no event; remove it or copy it again")
    address, low = np.concatenate(words).astype(np.int64).T
    t = low | (np.concatenate(overflows) << 31)
    valid = (address & 1) == 1
    address, t = address[valid], t[valid]
    return Decoded(t, (address >> 17) & 0x7FFF, (address >> 2) & 0x7FFF, (address >> 1) & 1, stated)


def _stream(path: Path):  # type: ignore[no-untyped-def]  # the decoder's type is the optional package's
    try:
        import aedat
    except ImportError as error:
        raise DataError(
            f"{path} is of AEDAT version 4, which needs the package aedat; install it (pip install "
            "aedat)"
        ) from error
    _refuse_damaged_description(path)
    decoder = aedat.Decoder(str(path))
    streams = {
        number: stream
        for number, stream in decoder.id_to_stream().items()
        if stream["type"] == "events"
    }
    if not streams:
        raise DataError(f"{path} has no stream of events; expected a recording of an event camera")
    first = min(streams)
    return decoder, first, (int(streams[first]["height"]), int(streams[first]["width"]))


def _refuse_damaged_description(path: Path) -> None:
    """aedat 2.3 ends the whole process where the description of the streams (XML in the file's
    header) is no sound text.
    """
    with open(path, "rb") as reader:
        start = reader.read(18)
        length = int.from_bytes(start[14:18], "little")
        header = reader.read(min(length, 2**24))
    description = header[header.find(b"<dv") : header.rfind(b"</dv>") + len(b"</dv>")]
    try:
        sound = len(header) == length and description.decode("utf-8").startswith("<dv")
    except UnicodeDecodeError:
        sound = False
    if not sound:
        raise DataError(
            f"{path} has no sound description of its streams in its header; expected an AEDAT 4 "
            "file; copy it again or remove it"
        )


def _version_4(path: Path) -> Decoded:
    decoder, number, sensor = _stream(path)
    packets = [
        packet["events"]
        for packet in decoder
        if packet["stream_id"] == number and "events" in packet
    ]
    if not packets:
        raise DataError(f"{path} holds no event; remove it or copy it again")
    events = np.concatenate(packets)
    return Decoded(events["t"], events["x"], events["y"], events["on"].astype(np.uint8), sensor)
