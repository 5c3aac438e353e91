"""Profiles: the resources that a site asks for per job, in `sweeps/profiles/*.yaml`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import datasets
from benchmark.planning import choice, yaml_values
from benchmark.planning.flag_kinds import is_line
from benchmark.planning.yaml_values import Value
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from mmdg_common import UsageError, unknown

OPTION = re.compile(r"[A-Za-z][\w-]*")
MEMORY = re.compile(r"(?P<n>\d+)(?P<unit>[KMGT]?)")
TIME = re.compile(r"(?:(?P<d>\d+)-)?(?P<h>\d+):(?P<m>\d\d)(?::(?P<s>\d\d))?")

USUAL_TIME = 240
"""Minutes that a job may take where nothing says otherwise."""


Options = Mapping[str, str | bool]
"""Options of a command, without dashes; True for those that take no value."""


@dataclass(frozen=True)
class Override:
    """What the jobs of some runs need that those of others do not."""

    when: Mapping[str, Sequence[str]]
    """Which runs, by the keys of `--only` but for `row`."""
    changes: Mapping[str, Any]
    """Values of fields of a profile."""


@dataclass(frozen=True)
class Profile:
    """The resources of one job; every field is a key of the file."""

    cluster: str = ""
    """Another one than this machine belongs to."""
    partition: str = ""
    """One, or several with commas, of which SLURM takes that where a job starts first."""
    account: str = ""
    qos: str = ""
    constraint: str = ""
    exclude: str = ""
    """Nodes that no job may use."""
    time: int | None = USUAL_TIME
    """Minutes; in the file also `hours:minutes`, `h:m:s` or `days-h:m`. None, `auto` in the file:
    what the runs of a job are estimated to take."""
    gpus: str = "0"
    """A number, or a type and a number such as `a100:1`."""
    cpus: int = 0
    """Cores; 0: as many as a run has threads and loading processes."""
    memory: tuple[str, ...] = ()
    """In SLURM's own form, such as `16G`; more after the first are for jobs that were killed, one
    after the other."""
    runs_at_once: int = 1
    """Runs beside each other on each GPU, or without GPUs in each job."""
    signal: int = 60
    """Seconds before its time limit at which a job is told, stops, and is queued again."""
    setup: tuple[str, ...] = ()
    """Shell lines before the job, such as `module load cuda`."""
    stage: Mapping[str, str] = field(default_factory=dict)
    """Where a node keeps copies of datasets; see `RunSettings.stage`. In the file also one folder
    for those of all datasets."""
    python: str = ""
    """How jobs start Python, as shell text; empty: as this process, in a container `python3`."""
    apptainer: str = ""
    """The image of the container that jobs run in; empty: none."""
    binds: tuple[str, ...] = ()
    """Folders that the container shows beside those of the results and the data."""
    sbatch: Options = field(default_factory=dict)
    """Any other options of sbatch."""
    srun: Options = field(default_factory=dict)
    """Options of the srun that starts a job's process."""
    overrides: tuple[Override, ...] = ()
    """Of those that match a run, later ones win."""

    @property
    def gpus_per_job(self) -> int:
        """How many GPUs a job has, of whatever type."""
        number = self.gpus.rpartition(":")[2]
        return int(number) if number.isdecimal() else 1

    def variants(self) -> "list[Profile]":
        """Return the profile as it is, and with each of its overrides."""
        return [self, *(replace(self, **one.changes) for one in self.overrides)]

    def groups(self, specs: Iterable[RunSpec]) -> "list[tuple[Profile, list[RunSpec]]]":
        """Return runs whose jobs need the same, with a profile of these needs."""
        found: dict[tuple[int, ...], list[RunSpec]] = {}
        for spec in specs:
            which = (i for i, one in enumerate(self.overrides) if choice.matches(spec, one.when))
            found.setdefault(tuple(which), []).append(spec)
        return [(self._with(which), group) for which, group in found.items()]

    def _with(self, which: Iterable[int]) -> "Profile":
        changes: dict[str, Any] = {}
        for i in which:
            changes |= self.overrides[i].changes
        return replace(self, **changes)

    def parameters(self, cores: int, on: str = "") -> dict[str, Any]:
        """Return the arguments for submitit's executor.

        Args:
            cores: the cores of a run, for a profile that does not say.
            on: the cluster, where that is another one than this machine's.
        """
        named = ("partition", "account", "qos", "constraint", "exclude")
        return {
            **{name: value for name in named if (value := getattr(self, name))},
            **({"mem": self.memory[0]} if self.memory else {}),
            **({"gres": f"gpu:{self.gpus}"} if self.gpus != "0" else {}),
            # A site may not let jobs be queued again that do not ask for it.
            "additional_parameters": {
                "requeue": True,
                **({"clusters": on} if on else {}),
                **self.sbatch,
            },
            **({"srun_args": flags(self.srun)} if self.srun else {}),
            "cpus_per_task": self.cpus or cores * self.runs_at_once * max(self.gpus_per_job, 1),
            "signal_delay_s": self.signal,
        }


def flags(options: Options) -> list[str]:
    """Return options as they are typed."""
    return [f"--{k}" if value is True else f"--{k}={value}" for k, value in options.items()]


def read(name: str, folder: Path = Path("sweeps/profiles")) -> Profile:
    """Return a profile.

    Args:
        name: of a file in `folder` without its ending, or a path.
        folder: of the named profiles.

    Raises:
        UsageError: there is no such file, or a key or value in it is wrong.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        there = {file.stem: file for file in sorted(folder.glob("*.yaml"))}
        if name not in there:
            raise UsageError(
                f"{unknown('profile', name, there)} Or name a file: --profile my_site.yaml"
            )
        path = there[name]
    given = yaml_values.read(path).mapping(f.name for f in fields(Profile))
    return Profile(**{key: _parsed(key, value) for key, value in given.items()})


def unpacking(settings: RunSettings, name: str) -> RunSettings:
    """Let this machine unpack archives where a profile says: runs are planned on what is in them.

    Args:
        settings: how runs are planned.
        name: of the profile; empty: there is none.

    Raises:
        UsageError: as `read`.
    """
    from datasets import archives, staging

    packed = [one for one, root in settings.data_roots.items() if archives.is_archive(root)]
    if not packed or not name:
        return settings
    stage = read(name).stage
    return replace(settings, stage={one: staging.place_of(stage, one) for one in packed})


def _parsed(key: str, value: Value) -> Any:
    if key in ("setup", "binds"):
        return tuple(_line(value, text) for text in value.texts())
    if key == "memory":
        return tuple(_memory(value, text) for text in value.texts())
    if key == "stage":
        return _places(value)
    if key in ("sbatch", "srun"):
        return {_option(item, name, key): _flag(item) for name, item in value.mapping().items()}
    if key == "overrides":
        return tuple(_override(item) for item in value.items())
    text = _line(value, value.text())
    if key == "cluster" and "," in text:
        raise value.error(
            "name one cluster; submit once with a profile for each: their jobs share the runs"
        )
    if key == "time":
        return _minutes(value)
    if key in ("cpus", "signal", "runs_at_once"):
        if not text.isdecimal() or (key == "runs_at_once" and not int(text)):
            raise value.error(f"{key} is a whole number, not {text!r}")
        return int(text)
    return text


def megabytes(memory: str) -> int:
    """Return what SLURM's form of an amount of memory stands for, such as 16384 for `16G`."""
    match = MEMORY.fullmatch(memory)
    assert match, memory
    kilobytes = int(match["n"]) << 10 * "KMGT".index(match["unit"] or "M")
    return -(-kilobytes // 1024)


def _memory(value: Value, text: str) -> str:
    if not MEMORY.fullmatch(_line(value, text)) or not megabytes(text):
        raise value.error(f"memory is an amount such as 16G, not {text!r}")
    return text


def _line(value: Value, text: str) -> str:
    """Return a text that becomes one line of the job script, or a part of one."""
    line = text.rstrip("\n")
    if not is_line(line.replace("\t", " ")):
        raise value.error(f"{text!r} is more than one line of the job script; write one per entry")
    return line


def _places(value: Value) -> dict[str, str]:
    """Return the place of each dataset that is named; under "" that of all others."""
    items = {"": value} if isinstance(value.content, str) else value.mapping(datasets.names())
    places = {name: item.text() for name, item in items.items()}
    for name, place in places.items():
        if not place.startswith(("/", "$", "~")):
            raise items[name].error(
                f"{place!r} is no folder that every node has; write one that starts with / or with "
                "a variable, such as $TMPDIR/mmdg"
            )
    return places


def _option(value: Value, name: str, command: str) -> str:
    if not OPTION.fullmatch(name):
        raise value.error(f"{name!r} is no option of {command}; write it without dashes in front")
    return name


def _override(value: Value) -> Override:
    # Where data is staged is said by dataset, and runs are planned by it.
    own = [f.name for f in fields(Profile) if f.name not in ("stage", "overrides")]
    items = value.mapping(("when", *own))
    if "when" not in items:
        raise value.error("an override says of which runs, such as when: {method: erm}")
    when = items["when"].mapping(choice.FIELDS)
    return Override(
        when={key: choice.listed(item.texts()) for key, item in when.items()},
        changes={key: _parsed(key, item) for key, item in items.items() if key != "when"},
    )


def _flag(value: Value) -> str | bool:
    text = _line(value, value.text())
    return True if text == "true" else text


def _minutes(value: Value) -> int | None:
    text = value.text()
    if text == "auto":
        return None
    if text.isdecimal() and int(text) > 0:  # 0 would wait for ever
        return int(text)
    if not (match := TIME.fullmatch(text)):
        raise value.error(
            f"time is in minutes or hours:minutes, such as 240 or 4:00, or auto, not {text!r}"
        )
    days, hours, minutes, seconds = (int(match[part] or 0) for part in "dhms")
    return max((days * 24 + hours) * 60 + minutes + (seconds > 0), 1)
