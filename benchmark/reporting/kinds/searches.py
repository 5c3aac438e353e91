"""The gain of searching hyper-parameters: the default, the chosen setting, and the oracle's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.planning import search
from benchmark.records.read import Record
from benchmark.records.selection import rule_of
from benchmark.records.spec import flat
from benchmark.reporting import conditions
from benchmark.reporting.captions import EMPTY, SPREAD, rule_notes
from benchmark.reporting.conditions import column_of
from benchmark.reporting.kinds.frame import difference, frame
from benchmark.reporting.labels import is_default
from benchmark.reporting.model import Count, Row, Score, Table, Text
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block

COLUMNS = (
    *("settings", "default: val", "default: target", "chosen: val", "chosen: target"),
    *("gain on target", "oracle: target", "chosen"),
)
DEFAULT = "default"


@dataclass(frozen=True)
class _Search:
    """One search that came to something: the settings of one method, split and seed."""

    done: Sequence[Record]
    chosen: Record
    default: Record | None
    """The run with the default setting, where it is among those tried and done."""


def build(wanted: Wanted) -> list[Table]:
    """Return a table for each condition in which a method was run with several settings."""
    wanted = wanted.seen(metric="accuracy")  # that is what a search goes by
    values = {part: wanted.results.percent(part, "accuracy") for part in ("val", "target")}
    tables = []
    for block in wanted.blocks:
        found = _searches(block, wanted.view.rule)
        if found:
            tables.append(_table(block, found, values, wanted.view))
    return tables


def _searches(block: Block, rule: str) -> dict[tuple[str, str], dict[int, _Search]]:
    """Return by split and method the searches of every seed."""
    by_id = {record.spec.id: record for record in block.records}
    found: dict[tuple[str, str], dict[int, _Search]] = {}
    for group in search.groups(by_id[name].spec for name in by_id):
        members = [by_id[spec.id] for spec in group]
        done = [record for record in members if record.result is not None]
        # A search tries the default first, which counts where several settings are equally good.
        done.sort(key=lambda record: not is_default(record.spec))
        best = search.best([record.result for record in done], rule)
        if len(members) < 2 or best is None:
            continue
        default = next((r for r in done if is_default(r.spec)), None)
        key = (column_of(group[0]), group[0].method)
        found.setdefault(key, {})[group[0].seed] = _Search(done, done[best], default)
    return dict(sorted(found.items()))


def _table(
    block: Block,
    found: Mapping[tuple[str, str], Mapping[int, _Search]],
    values: Mapping[str, Mapping[str, float]],
    view: View,
) -> Table:
    rows = tuple(
        _row(split, method, searches, values, view) for (split, method), searches in found.items()
    )
    return replace(
        frame("search", [block], view),
        columns=COLUMNS,
        rows=rows,
        first="method, split",
        notes=tuple(_notes(rows, found, view)),
    )


def _row(
    split: str,
    method: str,
    searches: Mapping[int, _Search],
    values: Mapping[str, Mapping[str, float]],
    view: View,
) -> Row:
    def cell(of: str, part: str) -> Score:
        picked = {seed: _scores(one, of, values[part]) for seed, one in searches.items()}
        best = {seed: max(scores) for seed, scores in picked.items() if scores}
        return Score(best, tuple(seed for seed in searches if seed not in best))

    default, chosen = cell(DEFAULT, "target"), cell("chosen", "target")
    tried = sorted({len(one.done) for one in searches.values()})
    some = next(iter(searches.values())).chosen
    assert some.result is not None
    cells = (
        Count(tried[-1], tried[0]),
        *(cell(DEFAULT, "val"), default, cell("chosen", "val"), chosen),
        difference(default, chosen),
        cell("done", "target"),
        Text(_settings(searches)),
    )
    rule = rule_of(some.result, view.rule)
    return Row(f"{method}, {split}", rule, cells, group=split, records=(some,))


def _scores(one: _Search, of: str, values: Mapping[str, float]) -> list[float]:
    """Return the accuracies of the default, of what is chosen, or of all that is done."""
    if of == "done":
        records = list(one.done)
    else:
        picked = one.chosen if of == "chosen" else one.default
        records = [] if picked is None else [picked]
    return [values[record.spec.id] for record in records if record.spec.id in values]


def _settings(searches: Mapping[int, _Search]) -> str:
    """Return what was chosen if it is the same for every seed."""
    said = {_setting(one) for one in searches.values()}
    return said.pop() if len(said) == 1 else "by seed, see below"


def _by_seed(found: Mapping[tuple[str, str], Mapping[int, _Search]]) -> Iterator[str]:
    """Yield what was chosen for each seed where that differs."""
    for (split, method), searches in found.items():
        said: dict[str, list[str]] = {}
        for seed, one in sorted(searches.items()):
            said.setdefault(_setting(one), []).append(str(seed))
        if len(said) > 1:
            texts = (
                f"seed{'s' * (len(seeds) > 1)} {', '.join(seeds)}: {text}"
                for text, seeds in said.items()
            )
            yield f"Chosen on {split} by {method}: {'; '.join(texts)}."


def _setting(one: _Search) -> str:
    """Return in what the chosen setting differs from the others that were tried."""
    if one.chosen is one.default:
        return DEFAULT
    everything = [flat(record.spec.hyperparameters) for record in one.done]
    mine = flat(one.chosen.spec.hyperparameters)
    parts = [
        f"{name.split('.', 1)[1]}={_number(value)}"
        for name, value in mine.items()
        if any(others.get(name) != value for others in everything)
    ]
    return " ".join(parts) or EMPTY


def _number(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else conditions.text(value)


def _notes(
    rows: Sequence[Row],
    found: Mapping[tuple[str, str], Mapping[int, _Search]],
    view: View,
) -> Iterator[str]:
    yield (
        "A search is the set of runs of one method, split and seed that differ only in their "
        "hyper-parameters. settings: the number of finished runs. chosen: the run with the highest "
        "accuracy on the validation part of the source domains (val); in a tie the default, else "
        "any of them."
    )
    yield (
        f"Each cell is an accuracy in percent: {SPREAD}. Each seed has a search of its own. gain: "
        f"chosen minus default on the target, in points. {EMPTY}: the run with the default setting "
        "is not finished."
    )
    yield (
        "oracle: the highest accuracy that any setting reaches on the target. It uses the target, "
        "so it shows what choosing on the sources costs and is not a result."
    )
    lacking = [s for searches in found.values() for s in searches.values() if s.default is None]
    if lacking:
        some = "1 search lacks" if len(lacking) == 1 else f"{len(lacking)} searches lack"
        yield f"{some} the default setting."
    yield from rule_notes(rows, view.rule)
    yield from _by_seed(found)
