"""ahsar-eval: how a trained spiking network behaves outside its training data, what it costs, what
its spikes look like.

    import ahsar_eval as ae
    net = ae.load("digits-vgg13-ahsar")     # or a live module: ae.wrap(module, timesteps=6, …)
    ae.ood(net, id="digits", ood=["photo-patches", "digits:rotation"])

`import ahsar_eval` imports no torch; the names below are loaded when they are first used.
"""

import importlib
import inspect
import types
from typing import Any

__version__ = "0.2.0"

_VERBS = "ahsar_eval.evaluation.verbs"
_PUBLIC = {
    **dict.fromkeys(
        ("load", "wrap", "compare", "raster", "sweep", "monitor", "record", "calibrate"), _VERBS
    ),
    **dict.fromkeys(("Ahsar", "HomeostaticParams"), "ahsar_eval.homeostasis"),
    **dict.fromkeys(("ModelSpec", "SpikingNet", "build"), "ahsar_eval.networks"),
    **dict.fromkeys(("open_split", "DataOptions"), "ahsar_eval.data"),
    **dict.fromkeys(
        ("Checkpoint", "load_checkpoint", "save_checkpoint"), "ahsar_eval.networks.checkpoints"
    ),
    "Recording": "ahsar_eval.recording",
    "SetPoints": "ahsar_eval.homeostasis.regulation",
    "Results": "ahsar_eval.results.results",
    "AhsarError": "ahsar_eval.errors",
}
# Folders of the package that are verbs, too, and where the verb is: `ahsar_eval.ood` holds the
# statistics, and `ahsar_eval.ood(…)` is the whole job.
_CALLED = {"ood": _VERBS, "energy": _VERBS, "report": "ahsar_eval.report.verb"}

__all__ = ["__version__", *_CALLED, *_PUBLIC]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _CALLED:
        return importlib.import_module(f"ahsar_eval.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'ahsar_eval' has no attribute {name!r}")


class CalledFolder(types.ModuleType):
    """A folder of the package that can be called as the verb of its name."""

    def _verb(self) -> Any:
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module(_CALLED[name]), name)

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """The verb."""
        return self._verb()(*arguments, **settings)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._verb())
