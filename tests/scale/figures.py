"""The figures that the simulation is fed with, read from the tables of docs/performance.md by their headings."""

import re
import sys
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy" / "local"))

from settings import TOPICS  # pylint: disable=wrong-import-position

PAGE = REPO / "docs" / "performance.md"
MANY, ONE = "POST /orders", "POST /orders, all of one product"


class Missing(Exception):
    """What a page does not say, and where it should."""


@dataclass
class Figures:
    commit: str
    cores: int
    finished: float  # orders from placed to PROCESSING, a second, until none is left
    rate: float      # of the open loop, at which these delays were measured:
    p50: float       # seconds from placed to PROCESSING
    p99: float
    costs: dict      # process -> seconds of CPU an order, of many products
    hot: dict        # the same, all orders of one product
    partitions: int


class Tables:
    """The tables of a page in Markdown; each is found by its first heading."""

    def __init__(self, text, name):
        self.name = name
        self.found = {}
        table = None
        for line in text.splitlines():
            if not line.startswith("|"):
                table = None
                continue
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            if table is None:
                table = self.found.setdefault(cells[0], [cells])
            elif not re.fullmatch(r"[-: ]+", cells[0]):
                table.append(cells)

    def cell(self, heading, row, column, after=None):
        """The cell of the first row of that name; with `after`, of the first one behind the row of that name."""
        if heading not in self.found:
            raise Missing(f"{self.name} has no table whose first heading is “{heading}”")
        head, *rows = self.found[heading]
        if column not in head:
            raise Missing(f"{self.name}: the table “{heading}” has no column “{column}”, but {head}")
        names = [cells[0] for cells in rows]
        start = 0
        for name in filter(None, (after, row)):
            if name not in names[start:]:
                raise Missing(f"{self.name}: the table “{heading}” has no row “{name}”" +
                              (f" behind “{after}”" if after and name == row else ""))
            start = names.index(name, start)
        return rows[start][head.index(column)]


def number(text, what):
    try:
        return float(text.replace(",", "").removesuffix("ms").strip())
    except ValueError as error:
        raise Missing(f"{what} is no number: “{text}”") from error


def costs(tables, case):
    """What each process costs an order, in seconds. What a page leaves out, as it is little, is spread over the others."""
    heading = "CPU a request, µs"
    everything = number(tables.cell(heading, case, "all"), f"the CPU of {case}")
    parts = {name: number(cost, f"the CPU of {name}") for name, cost in re.findall(
        r"([a-z][\w/.-]*) (\d{1,3}(?:,\d{3})*(?:\.\d+)?)(?=, |$)", tables.cell(heading, case, "of which"))}
    if not parts:
        raise Missing(f"{tables.name}: the table “{heading}” names no process for {case}")
    factor = everything / sum(parts.values()) / 1e6
    return {name: cost * factor for name, cost in parts.items()}


def read(page=PAGE):
    text = page.read_text()
    tables = Tables(text, page.name)
    machine = re.search(r"Commit (\S+)[^;]*; (\d+) cores", text)
    if not machine:
        raise Missing(f"{page.name} does not begin its figures with “Commit …, …; N cores of”")
    decided = "the same orders, from placed to paid and PROCESSING"

    def of(heading, row, column, after=None):
        return number(tables.cell(heading, row, column, after), f"“{column}” of “{row}”")
    return Figures(
        commit=machine[1].rstrip(","), cores=int(machine[2]), finished=of("orders confirmed", MANY, "/s"),
        rate=of("open loop", decided, "rate, /s", MANY), p50=of("open loop", decided, "p50, ms", MANY) / 1000,
        p99=of("open loop", decided, "p99, ms", MANY) / 1000, costs=costs(tables, MANY), hot=costs(tables, ONE),
        partitions=TOPICS["orders"].partitions)
