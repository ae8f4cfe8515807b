"""What a command makes of requirements beside the table: a JUnit report, and its exit code."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ahsar_eval.errors import UsageError
from ahsar_eval.options import described

if TYPE_CHECKING:
    from ahsar_eval.cli.commands import Texts
    from ahsar_eval.evaluation.requests import Gated


@dataclass(frozen=True)
@described(__file__, "options.toml", group="gate")
class Gate:
    """Where the JUnit report goes."""

    junit: Path | None = None

    def check(self) -> None:
        """That the report can be written. Raises `OutputError`."""
        if self.junit is not None:
            from ahsar_eval.results.junit import check_junit

            check_junit(self.junit)

    def judged(self, name: str, request: "Gated", give: "Callable[[], Texts]") -> None:
        """`give` what the command `name` finds, then report what was required of it.

        What is reported is read from the JSON that was given, which is kept, so that the report and
        the exit code are the same when the same is asked again. Raises `RequirementError` where a
        requirement is not met, when everything is written.
        """
        if self.junit is not None and not request.require:
            raise UsageError(
                "--junit reports requirements, and there are none; add --require, or leave it out"
            )
        texts = give()
        if not request.require:
            return
        from ahsar_eval.evaluation.requirement_tables import check_met
        from ahsar_eval.results.junit import write_junit

        found = json.loads(texts["written"]["json"])
        if self.junit is not None:
            write_junit(self.junit, name, found["requirements"], found["provenance"])
        check_met(found["requirements"])
