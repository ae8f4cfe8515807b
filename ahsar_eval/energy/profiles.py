"""Energy per operation, as data: every profile says its unit, what it includes and where it comes from."""

from dataclasses import dataclass

from ahsar_eval.errors import UsageError


@dataclass(frozen=True)
class Profile:
    """pJ per multiply-accumulate and per accumulation. `includes` says what the figures stand for."""

    name: str
    mac_pj: float
    ac_pj: float
    number_format: str
    node: str
    includes: str
    source: str


_HOROWITZ = "M. Horowitz, Computing's energy problem (and what we can do about it), ISSCC 2014, figure 1.1.9"
_ARITHMETIC = "arithmetic only: no memory access, no neuron update, no data movement"

PROFILES = {
    "45nm-fp32": Profile("45nm-fp32", 4.6, 0.9, "fp32", "45 nm", _ARITHMETIC, _HOROWITZ),
    "45nm-fp16": Profile("45nm-fp16", 1.5, 0.4, "fp16", "45 nm", _ARITHMETIC, _HOROWITZ),
    "45nm-int32": Profile("45nm-int32", 3.2, 0.1, "int32", "45 nm", _ARITHMETIC, _HOROWITZ),
    "45nm-int8": Profile("45nm-int8", 0.23, 0.03, "int8", "45 nm", _ARITHMETIC, _HOROWITZ),
}


def profile_of(name: str) -> Profile:
    """A profile by name. Raises `UsageError` that lists the known ones."""
    if name not in PROFILES:
        raise UsageError(f"unknown energy profile {name!r}; known are {', '.join(PROFILES)}")
    return PROFILES[name]
