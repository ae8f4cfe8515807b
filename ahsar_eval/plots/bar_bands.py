"""Networks whose bars have the same names stand side by side, the others below them; bands of such
panels fill pages.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ahsar_eval.plots.layout import places

MOST_NETWORKS = 4  # side by side
ROW_IN = 0.135  # a bar with the space about it
ABOVE_IN = 0.18  # names of networks
UNDER_IN = 0.2  # tick labels
TOTALS_IN = 0.2  # heading of the totals
LABEL_IN = 0.36  # tick labels and x label under the totals


@dataclass(frozen=True)
class Band:
    """Panels side by side: the numbers of their `networks`, and which of the bars that all of them
    have are drawn (`rows`).
    """

    networks: Sequence[int]
    rows: Sequence[int]

    @property
    def height(self) -> float:
        """Inches with the names above and the tick labels below."""
        return ABOVE_IN + len(self.rows) * ROW_IN + UNDER_IN


def alike(names: Sequence[Sequence[str]]) -> list[list[int]]:
    """Numbers of networks with the same `names` of bars, at most `MOST_NETWORKS` together, so that
    the names are needed once.
    """
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, one in enumerate(names):
        groups.setdefault(tuple(one), []).append(number)
    return [
        group[start : start + MOST_NETWORKS]
        for group in groups.values()
        for start in range(0, len(group), MOST_NETWORKS)
    ]


def totals_height(networks: int) -> float:
    """Inches of the panel of totals with everything about it."""
    return TOTALS_IN + networks * ROW_IN + LABEL_IN


def bands_by_page(names: Sequence[Sequence[str]], room: float) -> list[list[Band]]:
    """The bands of each page of `room` inches; a network with more bars than a page holds goes on
    on the next.
    """
    return list(_pages(names, room))


def _pages(names: Sequence[Sequence[str]], room: float) -> Iterator[list[Band]]:
    page: list[Band] = []
    for networks in alike(names):
        most = int((room - totals_height(len(networks)) - ABOVE_IN - UNDER_IN) / ROW_IN)
        spots = places(len(names[networks[0]]), most)
        for number in range(spots[-1][0] + 1):
            band = Band(
                networks, [row for row, (its_page, _) in enumerate(spots) if its_page == number]
            )
            totals = totals_height(sum(len(other.networks) for other in (*page, band)))
            if page and sum(other.height for other in (*page, band)) + totals > room:
                yield page
                page = []
            page.append(band)
    yield page
