"""Copies of the code, so that an edit does not change jobs that are queued already."""

import hashlib
import shutil
import tempfile
from pathlib import Path

from benchmark.records import provenance
from mmdg_common import group_permissions, make_folder, written_atomically

PARTS = ("benchmark", "methods", "datasets", "mmdg_common.py")


def take(folder: Path) -> Path:
    """Return a copy of this code below `folder`, the same for the same code.

    Its commit is written beside it, as a copy has no history to ask.
    """
    root = Path(__file__).resolve().parents[2]
    files = [
        file
        for part in PARTS
        for file in ((root / part).rglob("*") if (root / part).is_dir() else [root / part])
        if file.is_file() and "__pycache__" not in file.parts
    ]
    commit = provenance.commit() or ""
    digest = hashlib.sha256(commit.encode())
    for file in sorted(files):
        digest.update(f"\n{file.relative_to(root)}\n".encode() + file.read_bytes())
    place = folder / digest.hexdigest()[:12]
    if not place.exists():
        make_folder(folder)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            group_permissions(Path(scratch))
            copy = Path(scratch) / "code"
            for file in files:
                target = copy / file.relative_to(root)
                make_folder(target.parent)
                shutil.copyfile(file, target)
                group_permissions(target)
            with written_atomically(copy / provenance.COMMIT_FILE, durable=False) as note:
                note.write(commit.encode())
            try:
                copy.rename(place)
            except OSError:  # another process was faster with the same code
                if not place.exists():
                    raise
    return place
