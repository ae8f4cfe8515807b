"""The page: one file of HTML that needs nothing else, and the same numbers as JSON beside it."""

import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from ahsar_eval.errors import OutputError
from ahsar_eval.evaluation.raster import MOST_NEURONS
from ahsar_eval.files import check_folder_writable, write_text
from ahsar_eval.plots.ood import FEW_SAMPLES
from ahsar_eval.plots.style import colours
from ahsar_eval.report.content import content
from ahsar_eval.report.run import Found
from ahsar_eval.report.samples import KINDS, rasters_of, samples_of
from ahsar_eval.report.views import BESIDE, METRICS, functions
from ahsar_eval.results.table import Column, Table
from ahsar_eval.results.text import paragraphs, terminal_width, text_table

FOLDER = Path(__file__).parent
MOST_BYTES = 5_000_000
OURS = '<meta name="generator" content="ahsar-eval'  # by which a page of ours is known


class Report:
    """What `report` gives: `results` by kind (ood, energy), `facts`, which are the JSON, and the
    page.

    In a notebook it shows the page.
    """

    def __init__(self, found: Found) -> None:
        self.found = found
        self.results = {"ood": found.ood, "energy": found.energy}
        self.facts = content(found)
        self.facts["samples"], self._pictures = samples_of(found)

    @property
    def passed(self) -> bool | None:
        """Whether everything that was required is met; None where nothing was."""
        return self.facts["passed"]

    @functools.cached_property
    def json(self) -> str:
        """All numbers of the page, as `report.json` and the page hold them. Nothing in it can end
        the element of a page that it stands in.
        """
        text = json.dumps(self.facts, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        return text.replace("<", "\\u003c").replace("\u2028", "\\u2028")

    @functools.cached_property
    def html(self) -> str:
        """The page; one that would be larger than `MOST_BYTES` is without the histograms and ROC
        curves of single sets.
        """
        whole = self._page(drawn=True)
        return whole if len(whole.encode()) <= MOST_BYTES else self._page(drawn=False)

    @functools.cached_property
    def _rasters(self) -> list[Any]:
        return [rasters_of(one) for one in self.found.networks]

    def _page(self, *, drawn: bool) -> str:
        palette = colours(one.label for one in self.found.networks)
        return _template().render(
            facts=json.loads(self.json),
            json=Markup(self.json),
            css=Markup((FOLDER / "page.css").read_text(encoding="utf-8")),
            js=Markup((FOLDER / "page.js").read_text(encoding="utf-8")),
            colours=list(palette.values()),
            pictures=self._pictures,
            rasters=self._rasters,
            most_neurons=MOST_NEURONS,
            few=FEW_SAMPLES,
            latex=self.found.ood.to_latex(detail=False),
            kinds=KINDS,
            drawn=drawn,
            metrics=METRICS,
            beside=BESIDE,
            **functions(self.facts, palette),
        )

    @property
    def summary(self) -> str:
        """The verdict and the main numbers in some lines, for a terminal."""
        facts, width = self.facts, terminal_width()
        others = [one["name"] for one in facts["sets"] if not one["shift"]][:1]
        columns = [
            Column("label", "network"),
            Column("accuracy", "accuracy", interval=True),
            Column("worst", "worst shift"),
            *(Column("auroc", f"AUROC, {name}") for name in others),
            Column("energy", "nJ", ",.2f", divide=1e3),
        ]
        rows = [_main_numbers(facts, i, others) for i in range(len(facts["networks"]))]
        table = text_table(Table("", columns, rows), width)
        return "\n\n".join([paragraphs([facts["verdict"]], width), table])

    def save(self, path: str | Path) -> list[Path]:
        """Write the page and, under the same name, the JSON. Returns both. Raises `OutputError`,
        also where `path` is a file that is no page of this program.
        """
        page, numbers = Path(path), Path(path).with_suffix(".json")
        check_page(page)
        write_text(numbers, self.json)
        write_text(page, self.html)
        return [page, numbers]

    def _repr_html_(self) -> str:
        frame = Markup('<iframe srcdoc="{}" width="100%" height="800"></iframe>')
        return str(frame.format(self.html))


def check_page(page: Path) -> None:
    """That a page can be written here: a name that ends in .html in a folder that takes files, and
    nothing of another program under it. Raises `OutputError`.
    """
    check_folder_writable(page.parent)
    if page.suffix.lower() not in (".html", ".htm"):
        raise OutputError(
            f"cannot write {str(page)!r}: a report is HTML; name a file that ends in .html"
        )
    for file, ours in ((page, OURS), (page.with_suffix(".json"), '{"generator":"ahsar-eval')):
        try:
            begin = file.read_text(encoding="utf-8", errors="replace")[:4000]
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(
                f"cannot write {str(file)!r}: {error.strerror}; choose another place"
            ) from error
        if ours not in begin:
            raise OutputError(
                f"{str(file)!r} is there and is no report of ahsar-eval; name another file"
            )


@functools.cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")


def _main_numbers(facts: Mapping[str, Any], network: int, others: Sequence[str]) -> dict[str, Any]:
    """What a terminal shows of a network: by the first score on the ID set, on the shift that hurts
    it most, and on `others`.
    """
    label = facts["networks"][network]["label"]
    own, rows = (
        [
            row
            for row in facts["ood"][name]
            if row["label"] == label and row["score"] == facts["score"]
        ]
        for name in ("id", "rows")
    )
    shifts = [row["accuracy_ood"] for row in rows if row["group"] == "shift"]
    apart: Mapping[str, Any] = next((row for row in rows if row["ood"] in others), {})
    energy = facts["energy"]["networks"][network]["totals_pj"]
    return {
        "label": label,
        "worst": min((value for value in shifts if value is not None), default=None),
        "energy": energy[facts["energy"]["profile"]],
        **{f"accuracy{end}": own[0][f"accuracy{end}"] for end in ("", "_low", "_high")},
        "auroc": apart.get("auroc"),
    }
