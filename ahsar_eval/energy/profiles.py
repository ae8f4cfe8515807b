"""Energy per operation, as data (profiles.toml): every profile says its unit, what it includes, how
it was obtained and its source.
"""

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from ahsar_eval.errors import UsageError, close_to
from ahsar_eval.files import table_beside
from ahsar_eval.plugins import plugins

OBTAINED = ("measured", "simulated", "published calculation")
# Chips people ask for whose makers published no energy per operation: a guess under their name
# would be believed.
WITHOUT_FIGURES = {
    "loihi2": "Loihi 2",
    "akida": "Akida",
    "speck": "Speck",
    "brainscales2": "BrainScaleS-2",
}


@dataclass(frozen=True)
class MemoryPrices:
    """pJ per access of `width_bits`, at memory capacities in bytes; linear between them and from
    nothing, constant beyond the last.
    """

    width_bits: int
    points: tuple[tuple[float, float], ...]  # capacity in bytes, pJ per access; rising capacity

    def access_pj(self, capacity_bytes: float) -> float:
        """Energy of one access to a memory of this capacity."""
        low_bytes, low_pj = 0.0, 0.0
        for high_bytes, high_pj in self.points:
            if capacity_bytes <= high_bytes:
                share = (high_pj - low_pj) * (capacity_bytes - low_bytes)
                return low_pj + share / (high_bytes - low_bytes)
            low_bytes, low_pj = high_bytes, high_pj
        return low_pj


@dataclass(frozen=True)
class Profile:
    """pJ per operation; None is no figure, never zero: what it would price is listed as unpriced.

    `compare_pj` of arithmetic profiles is the price of an addition, since a comparison is a
    subtraction. `neuron_active_pj` and `neuron_inactive_pj` are a neuron's whole update in a step
    with and without a spike; they stand in for its single operations. `covers` are parts of the
    account that the price of an AC already holds (the figure is a chip's power divided by its
    events).
    """

    name: str
    unit: str
    node: str
    number_format: str
    includes: str
    obtained: str
    source: str
    mac_pj: float | None = None
    ac_pj: float | None = None
    multiply_pj: float | None = None
    add_pj: float | None = None
    compare_pj: float | None = None
    write_pj: float | None = None
    neuron_active_pj: float | None = None
    neuron_inactive_pj: float | None = None
    covers: tuple[str, ...] = ()
    word_bits: int | None = None  # of a weight, potential or message in memory
    memory_pj: MemoryPrices | None = None

    def price(self, operation: str) -> float | None:
        """pJ of one operation (ac, mac, add, multiply, compare, write, …), None without a figure;
        no profile has one of a log or an exp.
        """
        found: float | None = getattr(self, f"{operation}_pj", None)
        return found


_PARTS = ("neurons", "bias", "normalisation", "residual", "pooling", "products")
_TEXTS = ("source", "name", "node", "number_format", "includes")
_WORDS = {"unit": ("pJ",), "obtained": OBTAINED}
_KNOWN = tuple(field.name for field in fields(Profile))
_PRICES = tuple(name for name in _KNOWN if name.endswith("_pj") and name != "memory_pj")


def profile_from(content: Mapping[str, Any], place: str) -> Profile:
    """A checked profile from a table of `profiles.toml` or of a user's file.

    Raises `UsageError` in one sentence (naming `place`) for an unknown or missing key, an empty
    text, another unit, a way of obtaining that is not one of `OBTAINED`, a price that is no finite
    number of 0 or more, no price at all, or memory prices that do not rise.
    """
    told, known = dict(content), ", ".join(_KNOWN)
    for key in told:
        if key not in _KNOWN:
            raise UsageError(f"{place} has the unknown key {key!r}; a profile has {known}")
    for key in _TEXTS:
        if not isinstance(told.get(key), str) or not told[key].strip():
            raise UsageError(f"{place} has no {key}; a profile needs one: write {key} = '…'")
        told[key] = told[key].strip()
    for key, words in _WORDS.items():
        if told.get(key) not in words:
            expected = ", ".join(map(repr, words))
            raise UsageError(f"{place} says {key} = {told.get(key)!r}; expected {expected}")
    prices = [key for key in _PRICES if key in told]
    told |= {key: _price(told[key], f"{place} has {key}") for key in prices}
    if not prices:
        raise UsageError(f"{place} has no price; write at least mac_pj or ac_pj")
    if ("neuron_active_pj" in told) != ("neuron_inactive_pj" in told):
        raise UsageError(
            f"{place} prices one kind of neuron update; write both neuron_active_pj and "
            "neuron_inactive_pj"
        )
    covers = told.get("covers", [])
    if not isinstance(covers, list) or not all(part in _PARTS for part in covers):
        raise UsageError(f"{place} has covers = {covers!r}; expected a list of {', '.join(_PARTS)}")
    told["covers"] = tuple(covers)
    if "word_bits" in told and not _whole(told["word_bits"]):
        raise UsageError(
            f"{place} has word_bits = {told['word_bits']!r}; expected a whole number of bits, 1 or "
            "more"
        )
    if "memory_pj" in told:
        told["memory_pj"] = _memory(told["memory_pj"], place)
        if "word_bits" not in told:
            raise UsageError(
                f"{place} prices memory but no word; write word_bits = 32 (or what a weight takes)"
            )
    return Profile(**told)


def _whole(value: Any) -> bool:
    return type(value) is int and value >= 1


def _price(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        raise UsageError(f"{what} = {value!r}; expected a finite number of picojoules, 0 or more")
    return float(value)


def _memory(value: Any, place: str) -> MemoryPrices:
    try:
        width, points = value["width_bits"], [(size, pj) for size, pj in value["points"]]
    except (KeyError, TypeError, ValueError):
        width, points = None, []
    if not points or len(value) != 2 or not _whole(width):
        raise UsageError(
            f"{place} has a memory_pj that cannot be read; expected memory_pj = {{ width_bits = "
            "64, points = [[8192, 10.0], [32768, 20.0]] }, capacity in bytes and pJ per access"
        )
    checked = tuple(
        (_price(size, f"{place} has the capacity"), _price(pj, f"{place} has the memory price"))
        for size, pj in points
    )
    sizes = [0.0, *(size for size, _ in checked)]
    if any(after <= before for before, after in pairwise(sizes)):
        raise UsageError(
            f"{place} has memory capacities that do not rise from above 0; sort the points by "
            "capacity"
        )
    return MemoryPrices(width, checked)


PROFILES: dict[str, Profile] = {
    name: profile_from({"name": name, **content}, f"profile {name!r}")
    for name, content in (
        table_beside(__file__, "profiles.toml") | plugins("profiles", dict)
    ).items()
}


def profile_of(name: str) -> Profile:
    """A shipped profile by name, or the user's own from a file whose name ends in .toml.

    The file holds one profile: the keys of `Profile`, at its top. Raises `UsageError` for an
    unknown name (listing the known ones), for a chip without published figures, and for a file that
    cannot be read or does not pass the checks of `profile_from`.
    """
    if name in PROFILES:
        return PROFILES[name]
    if name.lower().endswith(".toml"):
        return _from_file(Path(name))
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if plain in WITHOUT_FIGURES:
        raise UsageError(
            f"no primary figure per operation is published for {WITHOUT_FIGURES[plain]}, so none "
            "is shipped; "
            "put your own, with its source, in a file and give --profile FILE.toml"
        )
    raise UsageError(
        f"unknown energy profile {name!r}{close_to(name, PROFILES)}; known are "
        f"{', '.join(PROFILES)}, or give a file that "
        "ends in .toml"
    )


def _from_file(path: Path) -> Profile:
    place = f"the profile {str(path)!r}"
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"{place} cannot be read: {error.strerror or error}; check the path and its "
            f"permissions, or name one of {', '.join(PROFILES)}"
        ) from error
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, or nested too deeply
        raise UsageError(f"{place} is no valid TOML in UTF-8 ({error}); mend that line") from error
    profile = profile_from(content, place)
    if profile.name in PROFILES:
        raise UsageError(
            f"{place} has the name {profile.name!r} of a shipped profile; give it a name of its own"
        )
    return profile
