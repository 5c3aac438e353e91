"""Where the numbers of a page come from: code, machines and packages, with the runs of each."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from benchmark.records.read import Record
from benchmark.records.result import segments
from benchmark.reporting.write.html import Section, heading, sheet

LISTED = 12
"""Values of one kind that are listed; the others are counted."""


def provenance(records: Sequence[Record]) -> Section:
    """Return how many runs come from which commit, device and package."""
    trained = [segments(r.result) for r in records if r.result is not None]
    body = []
    commits = [{str(one.get("commit") or "unknown") for one in of} for of in trained]
    if dirty := sum(any(commit.endswith("+dirty") for commit in of) for of in commits):
        body.append(
            f'<p class="warning">{dirty:,} of {len(trained):,} runs come from code with '
            "uncommitted changes, so their commit does not say what ran.</p>"
        )
    if resumed := sum(len({*map(_facts, of)}) > 1 for of in trained):
        body.append(
            f"<p>{resumed:,} of {len(trained):,} runs were interrupted and went on under other "
            "conditions. They count for each of them.</p>"
        )
    counts: dict[str, Counter[str]] = {}
    for of in trained:
        for name, value in dict.fromkeys(fact for one in of for fact in _facts(one)):
            counts.setdefault(name, Counter())[value] += 1
    version = "numbers version"
    counts[version] = Counter(str(record.spec.numbers_version) for record in records)
    rows = [line for name, values in counts.items() for line in _counted(name, values)]
    heads = [heading("what", 'class="label"'), heading("value", 'class="label"')]
    heads.append(heading("runs", 'class="number"'))
    body.append(sheet("provenance", "".join(heads), "\n".join(rows)))
    return Section("provenance", "Provenance", "\n".join(body))


def _facts(one: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return what is counted of the process that trained a run, or a part of it."""
    names = ("device", "driver", "cpu", "threads", "python")
    told = {name: value for name in names if (value := one.get(name)) is not None}
    commit = _short(str(one.get("commit") or "unknown"))
    facts = {"commit": commit, **told, **one.get("packages", {})}
    return tuple((name, str(value)) for name, value in facts.items())


def _short(commit: str) -> str:
    name, plus, dirty = commit.partition("+")
    return f"{name[:10]}{' with uncommitted changes' if plus and dirty else ''}"


def _counted(name: str, values: Counter[str]) -> Iterator[str]:
    listed = values.most_common(LISTED)
    if others := len(values) - len(listed):
        listed.append((f"{others} others", values.total() - sum(n for _, n in listed)))
    for i, (value, n) in enumerate(listed):
        yield (
            f'<tr{"" if i else " class=opens"}><th scope="row" class="label">{escape(name)}</th>'
            f'<td class="group">{escape(value)}</td><td class="number" data-v="{n}">{n:,}</td></tr>'
        )
