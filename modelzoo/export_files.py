"""Several files that appear together or not at all: written aside, then renamed, the one that describes them last."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import mkdtemp


class CannotExport(Exception):
    """What cannot be exported here, and what can be done; the message says it."""


@contextmanager
def placed(folder: Path, names: Sequence[str], *, force: bool) -> Iterator[Path]:
    """An empty folder to write `names` into; they move to `folder` if the block ends well, else nothing is left of it.

    Raises CannotExport where one of them is there and `force` is not given; OSError.
    """
    there = [folder / name for name in names if (folder / name).exists()]
    if there and not force:
        raise CannotExport(f"{there[0]} is there already. --force replaces it")
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(mkdtemp(prefix=".export-", dir=folder))
    try:
        yield staging
        _move(staging, folder, names)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
        for path in missing:  # those that were made for nothing
            with suppress(OSError):
                path.rmdir()


def _move(staging: Path, folder: Path, names: Sequence[str]) -> None:
    """While the last file, which has the others' hashes, is not there, they are not to be taken for whole."""
    (folder / names[-1]).unlink(missing_ok=True)
    moved = []
    try:
        for name in names:
            moved.append(folder / name)
            os.replace(staging / name, folder / name)  # noqa: PTH105  # as ResultsFile: what is at the target goes
    except BaseException:
        for path in moved:
            path.unlink(missing_ok=True)
        raise
