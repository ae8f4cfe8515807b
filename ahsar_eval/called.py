"""Folders of the package that are verbs, too: `ahsar_eval.ood` holds the statistics, and
`ahsar_eval.ood(…)` is the whole job.
"""

import importlib
import inspect
import types
from typing import Any


class CalledFolder(types.ModuleType):
    """A folder of the package that can be called as the verb of its name."""

    def _verb(self) -> Any:
        verbs = importlib.import_module("ahsar_eval.evaluation.verbs")
        return getattr(verbs, self.__name__.rpartition(".")[2])

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """The verb, of `ahsar_eval.evaluation.verbs`."""
        return self._verb()(*arguments, **settings)

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._verb())
