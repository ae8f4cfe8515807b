"""What goes to a worker and what comes back: plain data, so that it can travel to another process
or machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ahsar_eval.data import DataOptions


@dataclass(frozen=True)
class Job:
    """A cell to be run. `request` is a `TrainingRequest` as a mapping; `source` the checkpoint file
    that frozen:NAME takes.
    """

    key: str
    study: str
    request: Mapping[str, Any]
    threads: int
    ood: tuple[str, ...]
    data: DataOptions
    source: bytes | None = None
    command: str = ""


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result: one sentence, the kind of error, and for an error that nobody
    foresaw where it came from.
    """

    error: str
    kind: str
    traceback: str = ""


@dataclass(frozen=True)
class Ended:
    """How a job ended: with a `result`, with a `failure`, or neither where its worker `died` (in
    words).

    `files` are those a worker without the study's folder sends along, name → bytes.
    """

    key: str
    result: Mapping[str, Any] | None = None
    failure: Failure | None = None
    died: str = ""
    files: Mapping[str, bytes] = field(default_factory=dict)
