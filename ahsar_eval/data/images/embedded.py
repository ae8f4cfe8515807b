"""Files that scikit-learn carries, read without importing it: its import takes longer than an
evaluation of the digits.
"""

import importlib.util
from pathlib import Path

from ahsar_eval.errors import DataError


def sklearn_file(name: str) -> Path:
    """A file below scikit-learn's `datasets` folder. Raises `DataError` where scikit-learn or the
    file is missing.
    """
    spec = importlib.util.find_spec("sklearn")
    path = (
        Path(spec.origin).parent / "datasets" / name if spec is not None and spec.origin else None
    )
    if path is None or not path.is_file():
        raise DataError(
            f"scikit-learn's file {name} is missing; install scikit-learn, which carries the "
            "embedded sets"
        )
    return path
