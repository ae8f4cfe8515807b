"""Raw addresses of cameras: N-MNIST's five bytes (.bin), and AEDAT, the format of iniVation's
cameras: versions 1 and 2 (jAER), 3 (cAER; DVS128 Gesture) and 4 (DV).

All but version 4 are decoded here, bit by bit. tonic's `read_mnist_file` adds overflows one by one
to unsigned 32-bit times, which wrap and take quadratic time on a hostile file; its event primitives
take every packet of an AEDAT 3 file for polarity events, drop the time overflow and read past a cut
packet. The tests hold them as oracles on sound files. Layouts: iniVation, "AEDAT file formats";
jAER, `DVS128` and `DavisBaseCamera`.

A refusal here does not name the file: whoever opened it does (`files.read_events`).
"""

import re
import struct
from pathlib import Path

import numpy as np

from ahsar_eval.data.events.binary import beginning, header_end, unwrapped, whole_events
from ahsar_eval.data.events.stream import Decoded, Sensor
from ahsar_eval.errors import DataError

# The ATIS has rows 0 to 239: an "event" of row 240 says that a clock of 13 bits went round.
_OVERFLOW_ROW = 240
_OVERFLOW_US = 2**13

CHIPS: dict[str, Sensor] = {
    "dvs128": (128, 128),
    "davis240": (180, 240),
    "davis346": (260, 346),
    "davis640": (480, 640),
    "davisrgbw640": (480, 640),
    "davis208": (192, 208),
    "sbret10": (180, 240),  # the DAVIS240A's former name
}
_HEADER_ENDS = (b"#!END-HEADER", b"#End Of ASCII Header")
_HEADER_BYTES = 2**22  # jAER writes all its preferences
_PACKET_HEADER = struct.Struct("<hhiiiiii")
_POLARITY_EVENT = 1


def read_bin(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """N-MNIST and N-Caltech101: 40 bits an event (x 8, y 8, polarity 1, time 23 in µs, most
    significant first).

    The format is that of the sets' own pages; the overflow rule is in the reader of their author
    (event-Python, `read_dataset`) and in tonic. None of 1,100 real N-MNIST files has such an event.
    Raises `DataError` for a length that is no multiple of five bytes.
    """
    return decoded_bin(path.read_bytes())


def decoded_bin(data: bytes) -> Decoded:
    """The bytes of such a file."""
    columns = whole_events(data, 0, np.dtype("5u1")).T
    x, y, high, middle, low = columns.astype(np.int64)
    overflow = y == _OVERFLOW_ROW
    t = ((high & 127) << 16) | (middle << 8) | low
    t = t + _OVERFLOW_US * np.cumsum(overflow)
    real = ~overflow
    return Decoded(t[real], x[real], y[real], (high >> 7)[real])


def stated_in_aedat(path: Path) -> Sensor | None:
    """(height, width) of the camera a file names, None where it names none that is known. Raises
    `DataError` for a foreign file.
    """
    data = beginning(path, _HEADER_BYTES)
    if data.startswith(b"#!AER-DAT4"):
        return _stream(path)[2]
    return _aedat_header(data)[1]


def read_aedat(path: Path, form: str, sensor: Sensor | None) -> Decoded:
    """Events of an .aedat or .aedat4 file, x to the right and y down from the top left corner.

    Versions 1 and 2 hold raw addresses, whose meaning is the camera's: of the header's AEChip, or
    the one whose size the sensor is declared to be. jAER counts x of both cameras from the right
    and y from below, and stores 1 for OFF in a DVS128 address (0 for OFF in a DAVIS address). With
    `form` cifar10-dvs the picture, recorded with the camera on its side, is put upright as
    SpikingJelly does: x = 127 − row, y = 127 − column of the address. Version 3 and 4 state x, y
    and polarity themselves. Raises `DataError`.
    """
    if beginning(path).startswith(b"#!AER-DAT4"):
        return _version_4(path)
    data = path.read_bytes()
    version, camera, start = _aedat_header(data)
    if version == 3:
        return _version_3(data, start, camera)
    layout = np.dtype([("address", ">u2" if version == 1 else ">u4"), ("t", ">u4")])
    events = whole_events(data, start, layout)
    if camera is None and sensor in CHIPS.values():
        camera = sensor
    is_dvs128 = form == "cifar10-dvs" or camera == CHIPS["dvs128"]
    address, t = events["address"].astype(np.int64), unwrapped(events["t"], 2**32)
    # Synchronisation and special events of a DVS128 carry no pixel; a DAVIS mixes in frames and
    # inertial samples.
    pixels = (address & (0x80008000 if is_dvs128 else 0x80000400)) == 0
    other = "special events" if is_dvs128 else "samples of frames, of inertia or special events"
    skipped = {other: count} if (count := int((~pixels).sum())) else {}
    address, t = address[pixels], t[pixels]
    if is_dvs128:
        column, row, p = 127 - ((address >> 1) & 127), 127 - ((address >> 8) & 127), address & 1
        x, y = (row, column) if form == "cifar10-dvs" else (column, row)
        return Decoded(t, x, y, 1 - p, CHIPS["dvs128"], skipped)
    if camera is None:
        raise DataError(
            f"names no camera that is known ({', '.join(CHIPS)}), so its addresses cannot be read; "
            "convert it to .aedat4, or state the sensor of one of these (128x128 for a DVS128)"
        )
    height, width = camera
    x, y = width - 1 - ((address >> 12) & 1023), height - 1 - ((address >> 22) & 511)
    return Decoded(t, x, y, (address >> 11) & 1, camera, skipped)


def _aedat_header(data: bytes) -> tuple[int, Sensor | None, int]:
    """Version, sensor of the camera that is named, and where the events begin."""
    known = re.match(rb"#!AER-DAT([123])(?:\.\d+)?\s", data)
    if known is None:
        raise DataError(
            "does not begin with #!AER-DAT and a version from 1 to 4; expected an AEDAT file; is "
            "it misnamed?"
        )
    start = header_end(data, b"#", _HEADER_ENDS, "AEDAT events")
    sensor = None
    for camera in re.findall(rb"(?:AEChip:|Source \d+:)[ \t]*(\S+)", data[:start]):
        named = camera.decode("ascii", "replace").lower()
        sensor = next((size for name, size in CHIPS.items() if name in named), sensor)
    return int(known[1]), sensor, start


def _version_3(data: bytes, start: int, camera: Sensor | None) -> Decoded:
    found = [np.zeros((0, 2), np.int64)]
    while start < len(data):
        if len(data) - start < _PACKET_HEADER.size:
            raise DataError(
                "ends within a packet header; expected whole AEDAT 3 packets; copy it again or "
                "remove it"
            )
        kind, _, size, _, overflow, capacity, number, _ = _PACKET_HEADER.unpack_from(data, start)
        start += _PACKET_HEADER.size
        sound = size >= 1 and 0 <= number <= capacity and overflow >= 0
        if not sound or (kind == _POLARITY_EVENT and size != 8):
            raise DataError(
                f"has a packet of type {kind} that states {number} of {capacity} events of "
                f"{size} bytes; expected an AEDAT 3 packet; copy it again or remove it"
            )
        if len(data) - start < size * capacity:
            raise DataError(
                f"ends within a packet ({len(data) - start} of {size * capacity} bytes); "
                "expected whole AEDAT 3 packets; copy it again or remove it"
            )
        if kind == _POLARITY_EVENT and number:
            words = np.frombuffer(data, "2<u4", number, start).astype(np.int64)
            words[:, 1] |= overflow << 31
            found.append(words)
        start += size * capacity
    events = np.concatenate(found)
    address, t = events[(events[:, 0] & 1) == 1].T
    return Decoded(t, (address >> 17) & 0x7FFF, (address >> 2) & 0x7FFF, (address >> 1) & 1, camera)


def _stream(path: Path):  # type: ignore[no-untyped-def]  # the decoder's type is the optional package's
    """Decoder of an AEDAT 4 file, the number of its first stream of events, and its sensor."""
    try:
        import aedat
    except ImportError as error:
        raise DataError(
            "is of AEDAT version 4, which needs the package aedat; install it (pip install aedat)"
        ) from error
    _refuse_damaged_description(path)
    decoder = aedat.Decoder(str(path))
    streams = decoder.id_to_stream()
    numbers = (number for number, stream in streams.items() if stream["type"] == "events")
    first = min(numbers, default=None)
    if first is None:
        raise DataError("has no stream of events; expected a recording of an event camera")
    return decoder, first, (int(streams[first]["height"]), int(streams[first]["width"]))


def _refuse_damaged_description(path: Path) -> None:
    """aedat 2.3 ends the whole process where the description of the streams (XML in the file's
    header) is no sound text.
    """
    with open(path, "rb") as reader:
        length = int.from_bytes(reader.read(18)[14:], "little")
        header = reader.read(min(length, 2**24))
    description = header[header.find(b"<dv") : header.rfind(b"</dv>") + len(b"</dv>")]
    text = description.decode("utf-8", "replace")
    if len(header) != length or not text.startswith("<dv") or "\ufffd" in text:
        raise DataError(
            "has no sound description of its streams in its header; expected an AEDAT 4 file; copy "
            "it again or remove it"
        )


def _version_4(path: Path) -> Decoded:
    decoder, number, sensor = _stream(path)
    packets = [
        packet["events"]
        for packet in decoder
        if packet["stream_id"] == number and "events" in packet
    ]
    if not packets:
        raise DataError("holds no event; remove it or copy it again")
    events = np.concatenate(packets)
    return Decoded(events["t"], events["x"], events["y"], events["on"].astype(np.uint8), sensor)
