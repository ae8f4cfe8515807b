"""Energy: operations counted, priced and compared. Sees recordings only."""

from ahsar_eval.energy.account import OPERATIONS, PARTS, Account, Entry, account
from ahsar_eval.energy.ann import AnnEnergy
from ahsar_eval.energy.choices import CHOICES, Choices
from ahsar_eval.energy.estimate import estimate
from ahsar_eval.energy.intensity import BREAK_EVEN_POINTS, BreakEven
from ahsar_eval.energy.lemaire import LemaireLayer, LemaireResult, lemaire
from ahsar_eval.energy.profiles import PROFILES, MemoryPrices, Profile, profile_of
from ahsar_eval.energy.result import (
    NOT_INCLUDED,
    Access,
    EnergyResult,
    LayerEnergy,
    NeuronActivity,
    OperatorEnergy,
    PartEnergy,
)

__all__ = [
    "BREAK_EVEN_POINTS",
    "CHOICES",
    "NOT_INCLUDED",
    "OPERATIONS",
    "PARTS",
    "PROFILES",
    "Access",
    "Account",
    "AnnEnergy",
    "BreakEven",
    "Choices",
    "EnergyResult",
    "Entry",
    "LayerEnergy",
    "LemaireLayer",
    "LemaireResult",
    "MemoryPrices",
    "NeuronActivity",
    "OperatorEnergy",
    "PartEnergy",
    "Profile",
    "account",
    "estimate",
    "lemaire",
    "profile_of",
]
