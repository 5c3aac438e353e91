"""Where the numbers of a page come from: code, machines and packages, with the runs of each."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from benchmark.records.read import Record
from benchmark.reporting.write.html import Section, heading, sheet

LISTED = 12
"""Values of one kind that are listed; the others are counted."""


def provenance(records: Sequence[Record]) -> Section:
    """Return how many runs come from which commit, device and package."""
    told = [r.result["provenance"] for r in records if r.result is not None]
    body = []
    commits = [str(one.get("commit") or "unknown") for one in told]
    if dirty := sum(commit.endswith("+dirty") for commit in commits):
        body.append(
            f'<p class="warning">{dirty:,} of {len(told):,} runs come from code with uncommitted '
            "changes, so their commit does not say what ran.</p>"
        )
    counts: dict[str, Counter[str]] = {"commit": Counter(map(_short, commits))}
    for one in told:
        facts = {k: one[k] for k in ("device", "threads", "python") if k in one}
        for name, value in {**facts, **one.get("packages", {})}.items():
            counts.setdefault(name, Counter())[str(value)] += 1
    version = "numbers version"
    counts[version] = Counter(str(record.spec.numbers_version) for record in records)
    rows = [line for name, values in counts.items() for line in _counted(name, values)]
    heads = [heading("what", 'class="label"'), heading("value", 'class="label"')]
    heads.append(heading("runs", 'class="number"'))
    body.append(sheet("provenance", "".join(heads), "\n".join(rows)))
    return Section("provenance", "Provenance", "\n".join(body))


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
