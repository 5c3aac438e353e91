"""Fetching a dataset repository from the Hugging Face Hub."""

import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

from datasets.base import announced
from mmdg_common import UsageError


def fetch(repository: str, root: Path, only: str | None = None, without: str | None = None) -> None:
    """Download a dataset repository into `root` and unpack the zip archives in it.

    What is there already, whole, is neither downloaded nor unpacked again.

    Args:
        repository: its name on the Hub.
        root: a folder, made if need be.
        only: the one file that is wanted.
        without: a file that is not wanted.

    Raises:
        UsageError: the Hub cannot be reached, refuses, or an archive is broken.
    """
    from huggingface_hub import snapshot_download

    try:
        snapshot_download(
            repository,
            repo_type="dataset",
            local_dir=root,
            allow_patterns=only,
            ignore_patterns=without,
        )
    except Exception as error:  # the client lets through whatever its transport raises
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(
            f"cannot download {repository} from the Hugging Face Hub ({reason}). Check the "
            f"network and run the same command again, it goes on where it stopped; or fetch "
            f"https://huggingface.co/datasets/{repository} with a browser into {root}"
        ) from error
    for archive in sorted(root.rglob(only or "*.zip")):
        if archive.name != without:
            unpack(archive)


def unpack(archive: Path) -> None:
    """Unpack a zip archive beside itself, leaving out what is there with its full size.

    An archive of a folder's content, `human.zip` with `videos/...`, is unpacked into `human`;
    one that brings the folder along is not nested a second time.

    Raises:
        UsageError: the archive is broken.
    """
    try:
        with zipfile.ZipFile(archive) as file:
            members = [m for m in file.infolist() if not m.is_dir()]
            nested = {m.filename.split("/")[0] for m in members} <= {archive.stem}
            target = archive.parent if nested else archive.parent / archive.stem
            todo = [m for m in members if not _there(target / m.filename, m.file_size)]
            if todo:
                _extract(file, announced(todo, f"unpacking {archive.name}"), target)
    except Exception as error:  # what zipfile raises depends on the bytes that are broken
        reason = str(error) or type(error).__name__
        raise UsageError(
            f"{archive} cannot be unpacked ({reason}); delete it and download again"
        ) from error


def _extract(archive: zipfile.ZipFile, members: Iterable[zipfile.ZipInfo], target: Path) -> None:
    """Extract files that are there only when they are whole, so that none is taken for done."""
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".unpacking-") as folder:
        for member in members:
            path = Path(archive.extract(member, folder))
            whole = target / path.relative_to(folder)
            whole.parent.mkdir(parents=True, exist_ok=True)
            path.replace(whole)


def _there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
