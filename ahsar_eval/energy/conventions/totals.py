"""What a convention gives for a run: totals over all samples, exact, and the layers they are made
of.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from ahsar_eval.energy.conventions.run import Number, plain


@dataclass(frozen=True)
class LayerTotals:
    """One layer's MACs and ACs over all samples. `part`: synapses, bias, normalisation, pooling,
    means, residual, neurons, products.
    """

    part: str
    layer: str
    macs: Number = 0
    acs: Number = 0


@dataclass(frozen=True)
class Counted:
    """Rows of a convention, further numbers the tool prints beside them, and what a reader of this
    run must know.
    """

    rows: Sequence[LayerTotals]
    extra: Mapping[str, Number] = field(default_factory=dict)
    notes: Sequence[str] = ()


@dataclass(frozen=True)
class ConventionTotals:
    """MACs and ACs of a whole run of `samples` samples in batches of `batch_size` under one
    convention, integers or exact fractions.
    """

    convention: str
    macs: Number
    acs: Number
    extra: Mapping[str, Number]
    per_layer: tuple[LayerTotals, ...]
    notes: tuple[str, ...]
    samples: int
    batch_size: int

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping: per inference as numbers, totals exact (fractions as
        'numerator/denominator').
        """
        return {
            "convention": self.convention,
            "samples": self.samples,
            "batch_size": self.batch_size,
            "macs_per_inference": float(Fraction(self.macs) / self.samples),
            "acs_per_inference": float(Fraction(self.acs) / self.samples),
            "macs_total": json_number(self.macs),
            "acs_total": json_number(self.acs),
            "extra_total": {name: json_number(value) for name, value in self.extra.items()},
            "layers": [
                {
                    "layer": row.layer,
                    "part": row.part,
                    "macs_total": json_number(row.macs),
                    "acs_total": json_number(row.acs),
                }
                for row in self.per_layer
            ],
            "notes": list(self.notes),
        }


def summed(convention: str, counted: Counted, *, samples: int, batch_size: int) -> ConventionTotals:
    """Totals of the rows."""
    rows = tuple(
        LayerTotals(row.part, row.layer, plain(row.macs), plain(row.acs)) for row in counted.rows
    )
    return ConventionTotals(
        convention=convention,
        macs=plain(sum((row.macs for row in rows), 0)),
        acs=plain(sum((row.acs for row in rows), 0)),
        extra={name: plain(value) for name, value in counted.extra.items()},
        per_layer=tuple(row for row in rows if row.macs or row.acs),
        notes=tuple(counted.notes),
        samples=samples,
        batch_size=batch_size,
    )


def json_number(number: Number) -> int | str:
    """An integer as it is, a fraction as text, so that nothing is rounded."""
    number = plain(number)
    return number if isinstance(number, int) else f"{number.numerator}/{number.denominator}"
