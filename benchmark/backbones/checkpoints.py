"""Reading the checkpoint files of the encoders' authors, as distributed.

Entry names of the official files are ours but for a prefix: `backbone.layer4.0.conv1.conv.weight`
is `tail.layer4.0.conv1.conv.weight` here. Every entry must be used or be a known classifier;
anything else is an error, because a silently skipped entry leaves random weights behind.
"""

import hashlib
import pickle
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmark.backbones.base import Encoder
from benchmark.backbones.official import Checkpoint
from mmdg_common import UsageError

WRAPPERS = ("state_dict", "model_state_dict")
"""Where files keep their tensors; OpenMMLab's use the first, VGGSound's the second."""

PARALLEL = "module."
"""The prefix that `DataParallel` puts before every name."""

SHOWN = 3


@dataclass(frozen=True)
class Layout:
    """The official file of an encoder, and how it names its entries."""

    encoder: str
    checkpoint: Checkpoint
    prefix: str
    ignored: tuple[str, ...]


def load_official(encoder: Encoder, path: str, layout: Layout) -> None:
    """Fill an encoder from an official file.

    Raises:
        UsageError: the file cannot be read, is no checkpoint, or is not exactly for this encoder.
    """
    ours = {layout.prefix + name.partition(".")[2]: name for name in encoder.state_dict()}
    hint = f"encoder {layout.encoder} starts from {layout.checkpoint}"
    fill(encoder, read(path, hint), ours, layout.ignored, path, hint)


def read(path: str, hint: str) -> dict[str, Tensor]:
    """Return the tensors in a file by name, without wrapper or parallel prefix."""
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"there is no file {path}; {hint}.") from None
    except pickle.UnpicklingError as error:
        raise UsageError(_refusal(path, hint, error)) from None
    except Exception as error:  # torch raises many kinds on files that it did not write
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UsageError(f"{path} is not a readable checkpoint ({reason}); {hint}.") from None
    if isinstance(content, Mapping):
        wrapper = next((w for w in WRAPPERS if w in content), None)
        content = content[wrapper] if wrapper else content
    if not isinstance(content, Mapping) or not content:
        raise UsageError(f"{path} holds no tensors by name; {hint}.")
    return {str(name).removeprefix(PARALLEL): value for name, value in content.items()}


def fill(
    module: nn.Module,
    state: Mapping[str, Tensor],
    names: Mapping[str, str],
    ignored: Iterable[str],
    source: str,
    hint: str,
) -> None:
    """Copy tensors into a module after checking that they are exactly the ones it has.

    Args:
        module: what is filled; nothing is copied unless everything fits.
        state: the tensors of the file.
        names: the name in the module of every tensor that must be in the file.
        ignored: prefixes of names that may also be in the file.
        source: the file, for the error.
        hint: what to use instead, for the error.
    """
    skipped = tuple(ignored)
    ours = module.state_dict()
    found = {name: value for name, value in state.items() if not name.startswith(skipped)}
    problems = [
        *_listed("missing", [name for name in names if name not in found]),
        *_listed("unexpected", [name for name in found if name not in names]),
        *_listed("misshaped", _misshaped(found, {name: ours[o] for name, o in names.items()})),
    ]
    if problems:
        raise UsageError(f"{source} does not fit: {'; '.join(problems)}. Note that {hint}.")
    module.load_state_dict({names[name]: value for name, value in found.items()}, strict=False)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file in hexadecimal, to record which weights a run started from."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _misshaped(found: Mapping[str, object], wanted: Mapping[str, Tensor]) -> list[str]:
    wrong = []
    for name in (n for n in wanted if n in found):
        value = found[name]
        if not isinstance(value, Tensor):
            wrong.append(f"{name} (a {type(value).__name__})")
        elif value.shape != wanted[name].shape:
            wrong.append(f"{name} ({tuple(value.shape)}, not {tuple(wanted[name].shape)})")
    return wrong


def _listed(problem: str, names: list[str]) -> list[str]:
    """Return one phrase with the first names and how many more there are, or nothing."""
    if not names:
        return []
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return [f"{problem} {', '.join(names[:SHOWN])}{more}"]


def _refusal(path: str, hint: str, error: Exception) -> str:
    """Say that a pickle was not run, and which object in it was the reason if torch says so."""
    lines = [line.strip() for line in str(error).splitlines()]
    reason = next((line for line in lines if "GLOBAL" in line.upper()), lines[0])
    return (
        f"{path} is not a plain checkpoint and was not unpickled, because it could run any code "
        f"({reason}). Download the official file: {hint}."
    )
