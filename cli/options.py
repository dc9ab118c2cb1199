"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from inference.devices import is_a_name

DEFAULT_DIR = Path("models")
ModelsDir = Annotated[
    Path, typer.Option("--models-dir", envvar="NINEFOLD_MODELS_DIR", help="The folder of all artefacts.")
]


def _device(name: str) -> str:
    """In capitals. That it is here is asked where it computes: what is built may be for another machine."""
    name = name.strip().upper()
    if not is_a_name(name):
        raise typer.BadParameter(f"{name} is no device: say CPU, GPU, NPU, CUDA, CUDA:1 or HETERO:GPU,CPU for example")
    return name


Device = Annotated[
    str,
    typer.Option(
        envvar="NINEFOLD_DEVICE",
        help="What computes: CPU, another device of OpenVINO's, or CUDA, which needs models built for it.",
        callback=_device,
    ),
]
