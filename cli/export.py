"""`ninefold models export`: a model as a file for other runtimes."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.console import fail, say
from cli.options import DEFAULT_DIR, ModelsDir
from inference.artefacts import ArtefactStore, DamagedArtefact
from inference.card import BadCard
from inference.catalogue import BY_NAME, CATALOGUE
from inference.choice import ModelMissing
from inference.classifier import WrongAnswer

Format = Literal["onnx", "openvino", "tensorrt", "neuron"]
Precision = Literal["fp32", "bf16", "fp16", "int8", "pruned"]


def export(
    name: Annotated[str, typer.Argument(help="Which model.")],
    to: Annotated[Format, typer.Option(help="What it is for: docs/export.md shows how each is used.")],
    precision: Annotated[Precision, typer.Option(help="To openvino: any that is built. Else fp32 or fp16.")] = "fp32",
    folder: Annotated[Path, typer.Option("-o", "--output", help="The folder that the files are put into.")] = Path(
        "exports"
    ),
    weights: Annotated[
        Path | None, typer.Option(help="A local file of the very weights, for machines without the network.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Replace an earlier export.")] = False,
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Write a model as a file for ONNX Runtime, OpenVINO or TensorRT, and measure how far it agrees with its source."""
    if name not in BY_NAME:
        fail(f"there is no model {name!r}. Known: {', '.join(model.name for model in CATALOGUE)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is half made is swept away
    from modelzoo.export import Wanted, export  # noqa: PLC0415  # only who exports needs it
    from modelzoo.export_files import CannotExport  # noqa: PLC0415

    wanted = Wanted(BY_NAME[name], precision, to, ArtefactStore(models_dir), weights)
    try:
        card = export(wanted, folder, force=force, say=say)
    except (CannotExport, ModelMissing, BadCard, DamagedArtefact, WrongAnswer) as error:
        fail(f"{name} was not exported: {error}", code=1)
    except OSError as error:
        fail(f"the export cannot be written to {folder}: {error.strerror or error}", code=1)
    found = card.agreement
    say(
        f"Against {found.reference}: the same top-1 on {round(found.top1 * found.images)} of {found.images} pictures, "
        f"logits within {found.max_logit_difference:.2g}, probabilities within {found.max_probability_difference:.2g}."
    )
    for file in wanted.files:
        typer.echo(folder / file)
