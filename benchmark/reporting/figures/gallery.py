"""All figures of a report."""

from benchmark.reporting import figures, statistics
from benchmark.reporting.figures import Figure
from benchmark.reporting.kinds import ranks
from benchmark.reporting.request import Wanted


def make(wanted: Wanted) -> list[Figure]:
    """Return every figure for which there are data, ready to be drawn."""
    found = figures.make(wanted.records, wanted.view.rule)
    scores = ranks.collect(wanted)
    result = statistics.friedman(scores.values)
    if result is not None:
        methods = {r.spec.method for r in wanted.records if r.result is not None}
        found.append(
            figures.rank_figure(
                "all",
                f"{len(scores.values)} targets",
                scores.methods,
                result.ranks,
                result.critical,
                result.groups,
                figures.looks(methods) if set(scores.methods) <= methods else None,
            )
        )
    return found
