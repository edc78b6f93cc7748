#!/usr/bin/python3
"""The list of all metrics, metrics.toml. Run, it writes the table in docs/runbook.md."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
RUNBOOK = FOLDER.parents[1] / "docs/runbook.md"
TABLE = re.compile(r"(?<=<!-- made by deploy/observability/metrics\.py -->\n)(\|.*\n)+")


@dataclass
class Metric:
    type: str           # counter, gauge or histogram
    processes: set      # those that serve it
    says: str
    labels: list
    worry: str = ""


def read():
    """Each metric by its name, in the order of the file."""
    text = (FOLDER / "metrics.toml").read_text(encoding="utf-8")
    entries = tomllib.loads(text)
    sets = entries.pop("sets")

    def processes(said):
        return set(said) if isinstance(said, list) else set(sets.get(said, [said]))
    return {name: Metric(**({"labels": []} | entry | {"processes": processes(entry["processes"])}))
            for name, entry in entries.items()}


def names_in(expression):
    """The metrics that an expression of PromQL names, without what histograms add to a name."""
    for matcher in (r"\{[^}]*\}", r"\[[^\]]*\]", r"shop:\w+:\w+", r"(by|on|group_left|without|ignoring) *\([^)]*\)", r"\w+\("):
        expression = re.sub(matcher, " ", expression)
    return {re.sub("_(bucket|sum|count)$", "", name) for name in re.findall(r"\b[a-z]+_[a-z_]+\b", expression)}


def table():
    def row(*cells):
        return "| " + " | ".join(cells) + " |\n"
    rows = [row("metric", "labels", "meaning", "worry when"), "|---|---|---|---|\n"]
    for name, metric in read().items():
        rows.append(row(f"`{name}`", ", ".join(f"`{label}`" for label in metric.labels), metric.says, metric.worry).replace("|  |", "| |"))
    return "".join(rows)


def with_table(runbook):
    return TABLE.sub(lambda _: table(), runbook)


if __name__ == "__main__":
    RUNBOOK.write_text(with_table(RUNBOOK.read_text(encoding="utf-8")), encoding="utf-8")
