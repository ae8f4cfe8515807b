"""The page in a browser: nothing is fetched, every number stands where it should, what is pressed
changes what it should and nothing else, and it fits every width, print too.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Seen, browsing

from ahsar_eval.report.page import Report
from ahsar_eval.report.views import FORMATS, at

NONE = "–"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with browsing() as found:
        yield found


@pytest.fixture(scope="module")
def seen(browser: Any, page: Path) -> Seen:
    """The page, open; tests leave it as they find it."""
    return Seen(browser, page)


@pytest.fixture(scope="module")
def facts(page: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
    return found


# --- what it asks for, and what it says


def test_no_request_leaves_and_nothing_is_complained_of(seen: Seen, page: Path) -> None:
    assert [one for one in seen.requests if not one.startswith("data:")] == [page.as_uri()]
    assert seen.complaints == []


def test_every_number_stands_where_the_json_has_it(seen: Seen, facts: dict[str, Any]) -> None:
    shown = seen.page.eval_on_selector_all(
        "span[data-v]", "all => all.map(one => [one.dataset.v, one.dataset.f, one.textContent])"
    )
    assert len(shown) > 300
    for path, form, text in shown:
        value = at(facts, path)
        assert text == (NONE if value is None else FORMATS[form or "fraction"](value)), path


def test_every_metric_of_every_set_is_on_the_page(seen: Seen, facts: dict[str, Any]) -> None:
    paths = set(seen.page.eval_on_selector_all("[data-v]", "all => all.map(one => one.dataset.v)"))
    for i, row in enumerate(facts["ood"]["rows"]):
        for key in ("auroc", "auroc_low", "fpr_at_tpr", "accuracy_ood", "ece", "mean_rate_ood"):
            if row[key] is not None:
                assert f"ood.rows.{i}.{key}" in paths
    for i, _ in enumerate(facts["comparison"]):
        assert {f"comparison.{i}.{key}" for key in ("difference", "p_value", "p_holm")} <= paths
    for i, one in enumerate(facts["spikes"]):
        for j, _ in enumerate(one["layers"]):
            assert {
                f"spikes.{i}.layers.{j}.{key}" for key in ("rate", "dead", "saturated")
            } <= paths
    for i, _ in enumerate(facts["samples"]):
        assert {f"samples.{i}.confidence", f"samples.{i}.score"} <= paths


def test_every_mark_of_a_chart_lies_at_its_number(seen: Seen, facts: dict[str, Any]) -> None:
    marks = seen.page.eval_on_selector_all(
        "svg circle[data-v]",
        """all => all.map(one => {
          const chart = one.closest("svg");
          return [one.dataset.v, chart.className.baseVal, chart.dataset.x, chart.dataset.y,
                  +one.getAttribute("cx"), +one.getAttribute("cy")];
        })""",
    )
    kinds = {name for _, name, *_ in marks}
    assert {"chart severities", "chart forest", "chart pareto", "chart reliability"} == kinds
    for path, name, x, y, cx, cy in marks:
        value = at(facts, path)
        low, start, high, end = map(float, (x if "forest" in name else y).split())
        place = start + (value - low) / (high - low) * (end - start)
        assert (cx if "forest" in name else cy) == pytest.approx(place, abs=0.15), path
        if "pareto" in name:
            energy = at(facts, path.replace("accuracy", "energy_pj")) / 1e3
            low, start, high, end = map(float, x.split())
            assert cx == pytest.approx(start + energy / high * (end - start), abs=0.15)


# --- what is pressed


def test_views_show_what_is_chosen_and_nothing_else(seen: Seen, facts: dict[str, Any]) -> None:
    labels = [one["label"] for one in facts["networks"]]
    heats = "#robustness .view table caption"
    assert len(seen.shown(heats)) == 1
    for i, metric in ((2, "auroc"), (1, "ece"), (0, "accuracy_ood")):
        seen.page.select_option("#robustness [data-axis=network]", str(i))
        seen.page.select_option("#robustness [data-axis=metric]", metric)
        (caption,) = seen.texts(heats)
        assert labels[i] in caption
        cells = seen.shown("#robustness .view td a span[data-v]")
        assert len(cells) == 6  # five severities of contrast and one of blur
        for path in [cell.get_attribute("data-v") for cell in cells]:
            assert path.endswith(f".{metric}")
            assert at(facts, path.rpartition(".")[0])["label"] == labels[i]


def test_a_cell_opens_its_set_and_closes_it_again(seen: Seen, facts: dict[str, Any]) -> None:
    worst = min(
        (
            row
            for row in facts["ood"]["rows"]
            if row["shift"] and row["label"] == "digits-vgg13-baseline"
        ),
        key=lambda row: row["accuracy_ood"],
    )
    assert worst["ood"].partition(":")[2] in seen.texts("#open .detail h3")[0]
    cells = [
        one
        for one in seen.shown("#robustness .view td a")
        if "on" not in (one.get_attribute("class") or "")
    ]
    for cell in cells[:2]:
        cell.click()
        (detail,) = seen.shown("#open .detail")
        path = cell.query_selector("span").get_attribute("data-v").rpartition(".")[0]
        row = at(facts, path)
        assert row["ood"].partition(":")[2] in detail.inner_text()
        assert row["label"] in detail.inner_text()
        assert len(seen.shown("#open svg.histogram")) == len(seen.shown("#open svg.roc")) == 1
        (curve,) = seen.shown("#open .curves")
        assert row["shift"] in curve.inner_text()
    cell.click()
    assert seen.shown("#open") == []
    assert seen.page.query_selector_all("#open > *") == []
    homes = seen.page.query_selector_all("details.all > .detail")
    assert len(homes) == len(facts["networks"]) * len(facts["sets"])


def test_tables_are_sorted_by_the_column_that_is_pressed(seen: Seen) -> None:
    table = "#spikes .view.on table.sortable"
    column = "all => all.map(row => row.cells[3].textContent)"

    def rates() -> list[float]:
        return [float(text) for text in seen.page.eval_on_selector_all(f"{table} tbody tr", column)]

    before = rates()
    heading = seen.page.query_selector(f"{table} thead th:nth-child(4)")
    heading.query_selector("button").click()
    assert rates() == sorted(before)
    assert heading.get_attribute("aria-sort") == "ascending"
    heading.query_selector("button").click()
    assert rates() == sorted(before, reverse=True)
    assert heading.get_attribute("aria-sort") == "descending"
    seen.page.query_selector(f"{table} thead th:nth-child(1) button").click()
    assert heading.get_attribute("aria-sort") is None


def test_differences_are_sorted_as_numbers_what_is_unknown_last(seen: Seen) -> None:
    rows = "#comparison table.sortable tbody tr"
    seen.page.evaluate("document.querySelector('#comparison details').open = true")
    seen.page.query_selector("#comparison table.sortable thead th:nth-child(5) button").click()
    texts = seen.page.eval_on_selector_all(rows, "all => all.map(row => row.cells[4].textContent)")
    numbers = [float(text.replace("−", "-")) for text in texts]
    assert numbers == sorted(numbers)
    assert any(number < 0 for number in numbers)


def test_samples_are_filtered(seen: Seen, facts: dict[str, Any]) -> None:
    for i, kind in (
        (0, "known, looks unknown"),
        (1, "unknown, looks known"),
        (0, "confident error, shifted"),
    ):
        seen.page.select_option("#samples [data-axis=network]", str(i))
        seen.page.select_option("#samples [data-axis=kind]", kind)
        label = facts["networks"][i]["label"]
        known = [one for one in facts["samples"] if (one["label"], one["kind"]) == (label, kind)]
        shown = seen.shown("#samples .thumb")
        assert len(shown) == len(known) > 0
        assert all(one.query_selector("img").evaluate("one => one.naturalWidth") for one in shown)
    name = known[0]["class"]
    seen.page.select_option("#samples [data-axis=class]", name)
    assert len(seen.shown("#samples .thumb")) == sum(one["class"] == name for one in known)
    seen.page.select_option("#samples [data-axis=class]", "")


def test_the_slider_walks_through_layers_and_samples(seen: Seen, facts: dict[str, Any]) -> None:
    layers = [layer["name"] for layer in facts["spikes"][0]["layers"]]
    slider = seen.page.query_selector("#spikes [data-axis=layer]")
    assert slider.get_attribute("max") == str(len(layers) - 1)
    for sample, layer in ((0, 0), (1, len(layers) - 1)):
        seen.page.select_option("#spikes [data-axis=sample]", str(sample))
        slider.evaluate(
            "(one, to) => { one.value = to; one.dispatchEvent(new Event('input')); }", layer
        )
        (figure,) = seen.texts("#spikes figure.raster figcaption")
        index = facts["spikes"][0]["samples"][sample]["index"]
        assert f"{layers[layer]}, sample {index}" in figure
    assert seen.page.evaluate("[...document.images].every(one => one.naturalWidth > 0)")


@pytest.mark.parametrize("name", ["45nm-int8", "truenorth-2.5", "45nm-fp32"])
def test_a_profile_prices_the_counts_in_the_page(
    seen: Seen, facts: dict[str, Any], report: Report, name: str
) -> None:
    seen.page.select_option("#profile", name)
    for i, network in enumerate(facts["energy"]["networks"]):
        seen.page.select_option("#energy [data-axis=network]", str(i))
        total = network["totals_pj"][name]
        (said,) = seen.texts(f'[data-total="{i}"]')
        assert said == FORMATS["nanojoule"](total)
        layers: dict[str, float] = {}
        for line, price in zip(network["lines"], network["prices"][name], strict=True):
            layers[line["layer"]] = layers.get(line["layer"], 0) + line["count"] * (price or 0)
        view = f'#energy .view[data-network="{i}"]'
        names = [name for name in layers]
        cells = dict(zip(names, seen.texts(f"{view} tr[data-layer] .sum"), strict=True))
        assert cells == {key: FORMATS["nanojoule"](value) for key, value in layers.items()}
        sums = [
            float(text.replace(",", "")) for text in seen.texts("#energy .ops .sum") if text != NONE
        ]
        assert sum(sums) == pytest.approx(total / 1e3, abs=0.01 * len(sums))
    told = seen.page.query_selector("#energy .always").inner_text()
    assert ("without a price" in told) == bool(facts["energy"]["networks"][0]["unpriced"][name])
    seen.page.select_option("#energy [data-axis=network]", "0")


def test_not_included_stays_in_sight(browser: Any, page: Path) -> None:
    seen = Seen(browser, page)
    last = "document.querySelector('#energy .view.on tr[data-layer]:last-child')"
    seen.page.evaluate(f"{last}.scrollIntoView({{ block: 'center' }})")
    place = seen.page.query_selector("#energy .always").bounding_box()
    assert 0 <= place["y"] < 900
    table = seen.page.query_selector("#energy .view.on table").bounding_box()
    assert table["y"] < place["y"]  # it went with the reader


def test_texts_are_copied_whole(browser: Any, page: Path, facts: dict[str, Any]) -> None:
    seen = Seen(browser, page, permissions=["clipboard-read", "clipboard-write"])

    def copied(selector: str) -> str:
        seen.page.click(selector)
        seen.page.wait_for_function(
            "selector => document.querySelector(selector).textContent === 'Copied'", arg=selector
        )
        text: str = seen.page.evaluate("navigator.clipboard.readText()")
        return text

    assert copied('[data-copy="methods"]') == facts["methods"]
    assert json.loads(copied("#json")) == facts
    rows = copied("#csv").split("\n")
    assert len(rows) == 1 + sum(len(facts["ood"][name]) for name in ("id", "rows", "means"))
    place = rows[0].split(",").index("auroc")
    first = facts["ood"]["rows"][0]
    (line,) = [row for row in rows if f",{first['auroc']!r}," in row and first["ood"] in row][:1]
    assert float(line.split(",")[place]) == first["auroc"]


# --- how it lies


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 768, 1280])
def test_nothing_overflows(browser: Any, page: Path, width: int, scheme: str) -> None:
    seen = Seen(browser, page, width=width, color_scheme=scheme)
    seen.page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    over = seen.page.evaluate(
        """() => [...document.querySelectorAll("body *")].filter(one =>
          !one.closest(".scroll, nav, pre, option, .unseen") && one.getClientRects().length
          && one.getBoundingClientRect().right > innerWidth + 0.5).map(one => one.outerHTML.slice(0, 99))"""
    )
    assert over == []
    assert seen.page.evaluate("document.documentElement.scrollWidth") == width


def test_the_theme_is_toggled(browser: Any, page: Path) -> None:
    seen = Seen(browser, page, color_scheme="light")
    paper = "getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(paper)
    seen.page.click("#theme")
    dark = seen.page.evaluate(paper)
    assert light == "rgb(255, 255, 255)"
    assert dark != light
    seen.page.click("#theme")
    assert seen.page.evaluate(paper) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible(browser: Any, page: Path, scheme: str) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    seen = Seen(browser, page, color_scheme=scheme)
    found = axe.Axe().run(seen.page).response["violations"]
    assert [(one["id"], one["nodes"][0]["html"][:120]) for one in found] == []


def test_it_is_whole_without_javascript(browser: Any, page: Path, facts: dict[str, Any]) -> None:
    seen = Seen(browser, page, java_script_enabled=False)
    captions = [one.text_content() for one in seen.page.query_selector_all(".heat caption")]
    assert len(captions) == 3 * len(facts["networks"])
    assert all(one.is_visible() for one in seen.page.query_selector_all(".heat"))
    assert len(seen.page.query_selector_all("#spikes figure.raster img")) > 0
    assert seen.page.query_selector("select").is_visible() is False


def test_it_prints_unclipped(browser: Any, page: Path, tmp_path: Path) -> None:
    seen = Seen(browser, page)
    seen.page.emulate_media(media="print")
    seen.page.set_viewport_size({"width": 688, "height": 1000})  # A4 within its margins
    over = seen.page.evaluate(
        """() => [...document.querySelectorAll("main *")].filter(one =>
          one.getClientRects().length && one.getBoundingClientRect().right > innerWidth + 1
        ).map(one => one.outerHTML.slice(0, 99))"""
    )
    assert over == []
    pdf = seen.page.pdf(format="A4", print_background=True, path=str(tmp_path / "page.pdf"))
    pages = len(re.findall(rb"/Type\s*/Page\b", pdf))
    assert pages > 3
    assert not seen.shown("nav")


def test_hostile_names_stay_texts(browser: Any, hostile: Path) -> None:
    seen = Seen(browser, hostile)
    assert seen.complaints == []
    assert [one for one in seen.requests if not one.startswith("data:")] == [hostile.as_uri()]
    assert "</script>" in seen.page.title()
    assert seen.page.query_selector_all("img[onerror]") == []
    facts = json.loads(hostile.with_suffix(".json").read_text(encoding="utf-8"))
    label = facts["networks"][0]["label"]
    assert any(label in text for text in seen.texts("h3"))
