"""Parameters of the controller, and the conditions under which it is stable."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

from ahsar_eval.errors import HomeostasisError


@dataclass(frozen=True)
class HomeostaticParams:
    """Parameters of AHSAR; the defaults and their reasons stand in docs/method.md.

    Symbols of the paper (sections 4.1 to 4.3) in brackets. Raises `HomeostasisError` for a value
    outside its range.
    """

    beta: float = 0.1  # [β] reaction gain
    gamma: float = 0.1  # [γ] relaxation gain; 0 is the ablation "no RT"
    diffusion: float = 0.05  # [D] diffusion strength; 0 is the ablation "no DH"
    alpha: float = 0.5  # [α] largest relative deviation of a scale from its base
    kappa: float = 1.0  # [κ] slope of the saturating map
    scale_base: float = 1.0  # [s_base]
    baseline_state: float = 0.0  # [c₀] fixed, never learned
    rate_momentum: float = 0.1  # [m_r]
    ema_momentum: float = 0.1  # [m_e] paper 5.1
    rate_floor: float = 1e-4  # log r̃ uses max(r̃, rate_floor)
    use_gain: bool = True  # False is the ablation "no gain"
    eta_energy: float = 0.1  # [η_E]
    eta_progress: float = 0.1  # [η_p]
    gain_step: float = 0.05  # [δ] trust region of log g in one epoch
    progress_momentum: float = 0.3
    energy_momentum: float = 0.1

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type in (float, "float") and not math.isfinite(value):
                raise HomeostasisError(f"{field.name} is {value}; expected a finite number")
        for name in ("beta", "gamma", "diffusion", "eta_energy", "eta_progress", "gain_step"):
            if getattr(self, name) < 0:
                raise HomeostasisError(f"{name} is {getattr(self, name)}; expected 0 or more")
        for name in ("kappa", "scale_base", "rate_floor"):
            if getattr(self, name) <= 0:
                raise HomeostasisError(
                    f"{name} is {getattr(self, name)}; expected a positive number"
                )
        for name in ("rate_momentum", "ema_momentum", "progress_momentum", "energy_momentum"):
            if not 0 < getattr(self, name) <= 1:
                raise HomeostasisError(
                    f"{name} is {getattr(self, name)}; expected a number in (0, 1]"
                )
        if not 0 < self.alpha < 1:
            raise HomeostasisError(
                f"alpha is {self.alpha}; expected 0 < alpha < 1, so that every threshold stays "
                "positive"
            )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready mapping of every field."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "HomeostaticParams":
        """Inverse of `to_dict`. Raises `HomeostasisError` for an unknown or missing name."""
        known = {field.name for field in fields(cls)}
        if set(values) != known:
            odd = sorted(set(values) ^ known)
            raise HomeostasisError(
                f"controller parameters differ from those expected in {', '.join(odd)}; made by "
                "another version?"
            )
        return cls(**values)


def largest_laplacian_eigenvalue(units: int) -> float:
    """λ_max of the chain Laplacian of `units` nodes: 2 − 2·cos(π(L−1)/L); 0 for a single unit."""
    return 2 - 2 * math.cos(math.pi * (units - 1) / units)


def check_stable(params: HomeostaticParams, units: int) -> None:
    """Refuse parameters whose explicit step diverges: stable iff γ + D·λ_max < 2 (docs/method.md,
    section 2).

    Raises `HomeostasisError` naming γ, D, L and the limit.
    """
    reach = params.gamma + params.diffusion * largest_laplacian_eigenvalue(units)
    if reach >= 2:
        raise HomeostasisError(
            f"unstable controller: gamma = {params.gamma}, D = {params.diffusion} on L = {units} "
            f"units give gamma + D*lambda_max = {reach:.4g}, and the explicit step needs less than "
            "2; lower gamma or D"
        )


def closed_loop_limit(params: HomeostaticParams, ticks: int) -> float:
    """Upper bound on β·G, G = χ·α·κ, below which the loop closed through the rates is stable
    (docs/method.md, section 2).

    `ticks` is T̂. χ = −∂log r/∂log θ; cross-layer effects are left out. For γ → 0 the bound is
    2/(T̂+1).
    """
    if params.gamma >= 2:
        return 0.0
    # a − A and 1 − 2a + A of docs/method.md, divided by γ/T̂ and written as sums: their difference
    # would cancel for small γ.
    powers = [(1 - params.gamma) ** index for index in range(ticks)]
    lag = sum((index + 1) * power for index, power in enumerate(powers))
    lead = sum((ticks - 2 - 2 * index) * power for index, power in enumerate(powers))
    keep = (1 - params.gamma) ** ticks
    momentum = params.rate_momentum
    bounds = []
    if lag > 0:
        bounds.append(ticks * (1 - keep * (1 - momentum)) / (momentum * lag))
    if lead > 0:
        bounds.append(ticks * (1 + keep) * (2 - momentum) / (momentum * lead))
    return min(bounds, default=math.inf)
