"""Shifts by name, with the constants of severities 1 to 5 (`shifts.toml`): of images the 19
corruptions of CIFAR-10-C and seven of our own, of event recordings twelve.
"""

import ast
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ahsar_eval.data.sets import function_at
from ahsar_eval.files import table_beside
from ahsar_eval.plugins import Registry

if TYPE_CHECKING:
    from torch import Tensor

    from ahsar_eval.data.events.stream import Events
    from ahsar_eval.data.split import Indices

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Shift:
    """A shift: `apply(samples, constant, draws)` is a pure function of a batch of images [N, C, H,
    W] in [0, 1], or of one recording of events, and of random numbers.
    """

    apply: Callable[..., Any]
    constants: Sequence[Any]  # of severities 1 to 5
    family: str = ""  # of a shift of images; plugins may have families of their own
    # Whether a sample keeps its class; only then is an accuracy reported.
    labels_preserved: bool = True
    colour_only: bool = False
    needs_luma: bool = False  # of grey or colour, not of two channels, as of polarities
    of_polarities: bool = False  # of events of two polarities

    def takes(self, channels: int) -> bool:
        """Whether images of so many channels, or events of so many polarities, can be shifted."""
        if self.of_polarities:
            return channels == 2
        return channels == 3 or not (self.colour_only or (self.needs_luma and channels != 1))


@dataclass(frozen=True)
class Later:
    """The function `name` of a module of this folder, imported at the first call; its docstring is
    read from the source.
    """

    module: str
    name: str

    def __call__(self, *arguments: Any) -> Any:
        """What the function gives."""
        return function_at(f"{self.module}.{self.name}")(*arguments)

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return _docstrings(self.module)[self.name]


@functools.cache
def _docstrings(module: str) -> dict[str, str | None]:
    """Those of a module's functions by name."""
    source = Path(__file__).parent / f"{module.replace('.', '/')}.py"
    found = ast.parse(source.read_text(encoding="utf-8")).body
    return {one.name: ast.get_docstring(one) for one in found if isinstance(one, ast.FunctionDef)}


def _shifts(kind: str, rows: Mapping[str, Any]) -> Registry[Shift]:
    found = {name: Shift(Later(row.pop("in"), name), **row) for name, row in rows.items()}
    return Registry(kind, Shift, found)


_TABLE = table_beside(__file__, "shifts.toml")
SHIFTS = _shifts("shifts", _TABLE["images"])
EVENT_SHIFTS = _shifts("event_shifts", _TABLE["events"])
ALIASES = {"blur": "gaussian_blur"}


def shifted(
    images: "Tensor",
    shift: str,
    severity: int,
    seed: int,
    indices: "Indices",
    *,
    frost: Path | None = None,
) -> "Tensor":
    """A shift of `SHIFTS` applied to images [N, C, H, W] whose places in their set are `indices`;
    the result is clipped to [0, 1].

    `frost` is a folder of photographs in place of the grown frost textures.
    """
    from ahsar_eval.data.randomness import Draws

    known = SHIFTS[shift]
    arguments = images, known.constants[severity - 1], Draws(seed, shift, severity, indices)
    made: Tensor = known.apply(*arguments, frost) if shift == "frost" else known.apply(*arguments)
    return made.clamp(0, 1)


def shifted_events(
    recording: "Events", shift: str, severity: int, seed: int, index: int
) -> "Events":
    """A shift of `EVENT_SHIFTS` applied to the recording whose place in its set is `index`, by
    random numbers of these four alone.
    """
    from ahsar_eval.data.randomness import generator

    known = EVENT_SHIFTS[shift]
    maker = generator(f"{seed}|{shift}|{severity}|{index}")
    made: Events = known.apply(recording, known.constants[severity - 1], maker)
    return made
