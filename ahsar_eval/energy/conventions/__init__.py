"""What other tools would count for the same run: one file per convention, all from recordings
alone.
"""

from ahsar_eval.energy.conventions.catalogue import (
    CONVENTIONS,
    HUB,
    Convention,
    convention_of,
    totals,
    totals_of,
)
from ahsar_eval.energy.conventions.run import Amount, Number, Run, batches
from ahsar_eval.energy.conventions.totals import ConventionTotals, LayerTotals, json_number

__all__ = [
    "CONVENTIONS",
    "HUB",
    "Amount",
    "Convention",
    "ConventionTotals",
    "LayerTotals",
    "Number",
    "Run",
    "batches",
    "convention_of",
    "json_number",
    "totals",
    "totals_of",
]
