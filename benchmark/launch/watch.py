"""Watching a sweep until its runs have ended, whatever becomes of the scheduler meanwhile."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from benchmark.launch import status
from benchmark.launch.status import Standing
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State
from benchmark.records.store import Store
from mmdg_common import UsageError

ASK_EVERY = 30.0
"""Seconds between two questions to the scheduler."""
LOOK_EVERY = 2.0
"""Seconds between two looks at the files of runs; more where a look takes long."""
SHARE, LONGEST = 0.1, 60.0
"""The share of the time that looking at files may take, and the longest wait that follows."""
MOST_REFUSALS = 10
"""Submissions that the scheduler may refuse in a row before the watch ends."""


class Queue:
    """What waits for a scheduler, which is asked seldom and may not answer.

    Args:
        ask: as `Launcher.queued`.
    """

    def __init__(self, ask: Callable[[], Mapping[str, str]]) -> None:
        self._ask = ask
        self._asked = float("-inf")
        self._answered = 0.0
        self.fresh = False
        """Whether the last look asked and was answered."""
        self.waiting: Mapping[str, str] = {}
        """By run id what the scheduler last said."""
        self.problem = ""
        """Why it does not answer now."""

    @property
    def known(self) -> bool:
        """Whether the scheduler has ever answered."""
        return self._answered > 0

    def look(self) -> Mapping[str, str]:
        """Return what waits, asking again if that is due."""
        self.fresh = False
        if time.monotonic() - self._asked >= ASK_EVERY:
            try:
                self.waiting, self.problem = self._ask(), ""
                self._answered, self.fresh = time.time(), True
            except UsageError as error:
                self.problem = str(error)
            self._asked = time.monotonic()
        return self.waiting

    def submitted(self, runs: Iterable[str]) -> None:
        """Note that runs wait now, which the next answer is to confirm."""
        self.waiting = dict.fromkeys(runs, "jobs that were submitted just now")

    def lines(self, standings: Sequence[Standing]) -> Iterator[str]:
        """Yield in lines to print what runs wait for, and how far that is known."""
        if self.problem:
            at = time.strftime("%H:%M", time.localtime(self._answered))
            yield self.problem + (f"; the queue is shown as of {at}" if self.known else "")
        waiting = Counter(one.queue for one in standings if one.queue and one.state not in ENDED)
        for words, number in waiting.most_common():
            yield f"queue for {number} runs: {words}"


@dataclass
class Watch:
    """Looks at runs again and again, and submits again what no job is left for.

    Args:
        specs: the runs.
        results: the results folder.
        queue: what waits.
        table: returns the table of a look.
        submit: hands over to the scheduler what is left to do; None: that is the user's affair.
    """

    specs: Sequence[RunSpec]
    results: Path
    queue: Queue
    table: Callable[[Sequence[Standing]], RenderableType]
    submit: Callable[[], object] | None = None
    _standings: Sequence[Standing] = field(default=(), init=False)
    _submitted: dict[str, int] | None = field(default=None, init=False)
    """What was left at the last submission: the point where each run would resume, by its id."""
    _refusals: int = field(default=0, init=False)
    """Submissions in a row that the scheduler refused."""
    _said: dict[str, Sequence[str]] = field(default_factory=dict, init=False)
    """By subject the lines that were printed last."""

    def run(self, console: Console) -> Sequence[Standing]:
        """Watch until nothing moves any more; return how the runs stand then.

        Raises:
            UsageError: the scheduler refuses the first submission, or too many of the later ones.
        """
        with Live(console=console, auto_refresh=False, transient=True) as live:
            while True:
                took = self._look()
                if self._submit():
                    took = self._look()
                if not self._moves():
                    return self._standings
                self._show(live)
                time.sleep(max(LOOK_EVERY, min(took / SHARE, LONGEST)))

    def _look(self) -> float:
        """See how the runs stand; return the seconds that this took, without the scheduler's."""
        queued = self.queue.look()
        began = time.monotonic()
        self._standings = status.look(self.specs, self.results, queued, self._standings)
        return time.monotonic() - began

    def _submit(self) -> bool:
        """Submit what is left where no job of the sweep waits; return whether that was done.

        Not where nothing has moved since the last time: it would go on for ever.
        """
        waits = any(spec.id in self.queue.waiting for spec in self.specs)
        if self.submit is None or not self.queue.fresh or waits or not (left := self._left()):
            return False
        if left == self._submitted:
            self._say(
                "submission",
                "the jobs have ended and no run has come any further, so nothing is submitted "
                f"again; what they printed is in {self.results / 'slurm' / 'logs'}",
            )
            return False
        try:
            self.submit()
        except UsageError as error:
            self._refusals += 1
            if self._submitted is None or self._refusals >= MOST_REFUSALS:
                raise
            self._say("submission", f"not submitted again yet: {error}")
            return False
        self._submitted, self._refusals = left, 0
        self.queue.submitted(left)
        return True

    def _left(self) -> dict[str, int]:
        """Return by id of the runs that nobody has the points where they resume."""
        store = Store(self.results)
        return {
            one.spec.id: store.folder(one.spec).mark()
            for one in self._standings
            if one.state in (State.TO_DO, State.INTERRUPTED)
        }

    def _moves(self) -> bool:
        """Return whether a run is under way or waits, or may do so as far as is known."""
        states = {one.state for one in self._standings}
        if states & {State.RUNNING, State.QUEUED}:
            return True
        return bool(states - set(ENDED)) and (not self.queue.known or self._refusals > 0)

    def _show(self, live: Live) -> None:
        lines = list(self.queue.lines(self._standings))
        if live.console.is_terminal:
            live.update(Group(self.table(self._standings), *map(Text, lines)), refresh=True)
        else:
            self._say("states", status.counts(self._standings))
            self._say("queue", *lines)

    def _say(self, subject: str, *lines: str) -> None:
        """Print the lines about a subject, unless they are those that it has already."""
        if list(lines) != self._said.get(subject, []):
            self._said[subject] = list(lines)
            for line in lines:
                print(line, flush=True)
