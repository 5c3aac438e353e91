"""Pages that tests make of the report, and how they are read back."""

import json
import re
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from support_reports import toy_spec as make_spec
from support_reports import whole

from benchmark.records import read as reading
from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.reporting import figures
from benchmark.reporting.kinds import accuracy
from benchmark.reporting.model import NONE, Count, Row, Table, Text
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.write import page

VOID = {"br", "img", "input", "link", "meta", "wbr"}
HOSTILE = '</script><img src=x onerror=alert(1)> a"b & <b>c</b>'


def make_record(spec: RunSpec, accuracy: float, **told: Any) -> Record:
    where = {"commit": "c" * 40, "device": "cpu (x86_64)", "threads": 2, "wall_s": 12.34}
    packages = {"packages": {"torch": "2.11.0"}}
    rules = {"best-val": {"target": {"accuracy": accuracy, "macro_f1": 0.0}}}
    result = {"schema": 1, "rules": rules, "provenance": where | packages | told}
    return Record(spec, "done", result=result)


def row_of(method: str, accuracies: Mapping[str, Sequence[float]], **changes: Any) -> list[Record]:
    return [
        make_record(make_spec(method, target, seed, **changes), accuracy)
        for target, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def make_records() -> list[Record]:
    """Two groups, means of one to three digits, a row that lacks d1, a failed run."""
    one: dict[str, Any] = {"modalities": ("m1",), "encoders": {"m1": "mlp"}, "data": "ee" * 6}
    return [
        *row_of("erm", {"d1": [0.25], "d2": [0.5], "d3": [0.4]}, **one),
        *row_of("mbcd", {"d1": [0.095], "d2": [0.6], "d3": [0.3]}, **one),
        *row_of("erm", {"d1": [0.5, 0.6], "d2": [0.5], "d3": [0.5]}),
        *row_of("mbcd", {"d1": [1.0], "d2": [0.7], "d3": [0.2]}),
        *row_of("swad", {"d2": [0.9], "d3": [0.1]}),
        make_record(make_spec("erm", "d2", 1), 0.5, commit="d" * 40 + "+dirty"),
        Record(make_spec("swad"), "failed", HOSTILE),
    ]


def stored(root: Path, records: Sequence[Record]) -> list[Record]:
    for run in records:
        folder = Store(root).folder(run.spec)
        folder.write_spec(run.spec)
        folder.write_status(run.state, **({"error": run.error} if run.error else {}))
        if run.result is not None:
            folder.write_result(whole(run.result))
    return reading.read([root], "best-val").records


def plain_table() -> Table:
    rows = tuple(
        Row(label, "", (Count(value) if value else NONE, Text(text)))
        for label, value, text in (("nine", 9, "no"), (HOSTILE, None, "—"), ("ten", 10_000, "yes"))
    )
    subject = ("toy", "<script>alert(2)</script>")
    return Table("cost", subject, ("parameters", "read"), rows, scores=False, notes=(HOSTILE,))


class Made:
    """A page in a file, and what it was made of."""

    def __init__(self, root: Path) -> None:
        self.records = stored(root / "a results" / "store#1", make_records())
        self.tables = [*accuracy.build(Wanted(self.records, View())), plain_table()]
        self.pictures = figures.make(Wanted(self.records, View()))
        self.folder = root / "reports"
        self.folder.mkdir()
        self.text = page.render(
            self.tables, self.pictures, self.records, "best-val", self.folder, ["lab"]
        )
        self.file = self.folder / "report.html"
        self.file.write_text(self.text)


class Parsed(HTMLParser):
    """Elements with their attributes and the text inside; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in <{tag}>"
        self.elements.append((tag, {k: v or "" for k, v in attrs}, []))
        if tag not in VOID:
            self.open.append((tag, self.elements[-1][2]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for _, texts in self.open:
            texts.append(data)

    def of(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        return [
            (found, " ".join("".join(texts).split()))
            for name, found, texts in self.elements
            if name == tag and attributes.items() <= found.items()
        ]


def run_rows(text: str) -> list[list[Any]]:
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return list(json.loads(data))
