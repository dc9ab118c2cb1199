"""Packs what AWS is given: the Lambda's zip, the Glue jobs' scripts, and the modules that these import.

    python -m scripts.package [FOLDER]

The same sources make the same bytes, whenever and wherever: names are sorted, times and modes fixed, and nothing is
compressed, since another zlib would compress otherwise. Terraform would see a change where none is.
"""

from __future__ import annotations

import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAMBDA, SCRIPTS, MODULES = "lambda.zip", ("preprocess.py", "predict.py"), "modules.zip"
_MODE = 0o100644
_OLDEST = (1980, 1, 1, 0, 0, 0)  # a zip knows no earlier time
_PARTS = ("contract", "glue_jobs", "inference")
_LAMBDA_CONTRACT = ("__init__.py", "batches.py", "ziplist.py")


def package(folder: Path) -> None:
    """Writes the files into `folder`, which is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    function = {"start_preprocessing.py": ROOT / "lambda" / "start_preprocessing.py"}
    _write_zip(folder / LAMBDA, function | {f"contract/{name}": ROOT / "contract" / name for name in _LAMBDA_CONTRACT})
    _write_zip(
        folder / MODULES,
        {f"{part}/{path.name}": path for part in _PARTS for path in (ROOT / part).glob("*.py")},
    )
    for script in SCRIPTS:
        shutil.copyfile(ROOT / "glue_jobs" / script, folder / script)


def _write_zip(path: Path, files: Mapping[str, Path]) -> None:
    """`files`: what is to be within, by the name that it has there."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            about = zipfile.ZipInfo(name, _OLDEST)
            about.create_system = 3  # Unix: otherwise the mode means nothing
            about.external_attr = _MODE << 16
            archive.writestr(about, files[name].read_bytes())


def main(arguments: list[str]) -> None:
    """Packs into the folder that is named, or into build/."""
    folder = Path(arguments[0]) if arguments else ROOT / "build"
    package(folder)
    for name in (LAMBDA, *SCRIPTS, MODULES):
        print(f"{folder / name}  {(folder / name).stat().st_size:,} bytes")


if __name__ == "__main__":
    main(sys.argv[1:])
