"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DIR = Path("models")
ModelsDir = Annotated[
    Path, typer.Option("--models-dir", envvar="NINEFOLD_MODELS_DIR", help="The folder of all artefacts.")
]
Device = Annotated[
    str,
    typer.Option(
        envvar="NINEFOLD_DEVICE",
        help="What computes: CPU, another device of OpenVINO's, or CUDA, which needs models built for it.",
        callback=lambda name: name.strip().upper(),
    ),
]
