"""Energy: operations at a price. Sees recordings only."""

from ahsar_eval.energy.estimate import NOT_INCLUDED, EnergyResult, LayerEnergy, NeuronActivity, estimate
from ahsar_eval.energy.profiles import PROFILES, Profile, profile_of

__all__ = ["NOT_INCLUDED", "PROFILES", "EnergyResult", "LayerEnergy", "NeuronActivity", "Profile", "estimate", "profile_of"]
