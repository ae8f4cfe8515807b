"""ahsar-eval: how a trained spiking network behaves outside its training data, what it costs, what
its spikes look like.

    import ahsar_eval as ae
    net = ae.load("digits-vgg13-ahsar")     # or a live module: ae.wrap(module, timesteps=6, …)
    ae.ood(net, id="digits", ood=["photo-patches", "digits:rotation"])

`import ahsar_eval` imports no torch; the names below are loaded when they are first used.
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_VERBS = "ahsar_eval.evaluation.verbs"
_PUBLIC = {
    **dict.fromkeys(("load", "wrap", "compare", "raster", "sweep", "record"), _VERBS),
    "Ahsar": "ahsar_eval.homeostasis",
    "HomeostaticParams": "ahsar_eval.homeostasis",
    "ModelSpec": "ahsar_eval.networks",
    "SpikingNet": "ahsar_eval.networks",
    "build": "ahsar_eval.networks",
    "open_split": "ahsar_eval.data",
    "DataOptions": "ahsar_eval.data",
    "Checkpoint": "ahsar_eval.networks.checkpoints",
    "load_checkpoint": "ahsar_eval.networks.checkpoints",
    "save_checkpoint": "ahsar_eval.networks.checkpoints",
    "Recording": "ahsar_eval.recording",
    "Results": "ahsar_eval.results.results",
    "AhsarError": "ahsar_eval.errors",
}
# Folders of the package that are verbs, too.
_CALLED = ("ood", "energy")

__all__ = ["__version__", *_CALLED, *_PUBLIC]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def __getattr__(name: str) -> Any:
    if name in _CALLED:
        return importlib.import_module(f"ahsar_eval.{name}")
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'ahsar_eval' has no attribute {name!r}")
