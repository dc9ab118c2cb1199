"""`ninefold models`: build artefacts, and list what is there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.console import err, fail, out
from inference.artefacts import ArtefactStore
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL
from inference.choice import why_missing
from inference.classifier import WrongAnswer

app = typer.Typer(help="Build models, and list them.", no_args_is_help=True)

ModelsDir = Annotated[
    Path, typer.Option("--models-dir", envvar="NINEFOLD_MODELS_DIR", help="The folder of all artefacts.")
]
DEFAULT_DIR = Path("models")


@app.command("list")
def list_models(models_dir: ModelsDir = DEFAULT_DIR) -> None:
    """Every model, the precisions it is there in, and why another is missing."""
    store = ArtefactStore(models_dir)
    table = Table("model", "precisions", "size", "note", box=None, pad_edge=False)
    for model in CATALOGUE:
        built = [artefact for artefact in store.all() if artefact.card.model == model.name]
        if built:
            size = f"{sum(artefact.card.size_bytes for artefact in built) / 1e6:.0f} MB"
            table.add_row(model.name, ", ".join(a.card.precision for a in built), size, model.title)
        elif not model.for_measurements_only:
            table.add_row(model.name, "–", "–", why_missing(store, model.name))
    out.print(table)


@app.command()
def build(
    name: Annotated[
        str | None, typer.Argument(help="Which model. Without one: the default, or what replaces it.")
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="A local file of the very weights, for machines without the network.")
    ] = None,
    force: Annotated[bool, typer.Option(help="Build it again even if it is there.")] = False,
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Turn weights into an artefact: download or read them, check their hash, convert, measure."""
    store = ArtefactStore(models_dir)
    name = name or os.environ.get("NINEFOLD_MODEL") or None
    if name is not None and name not in BY_NAME:
        fail(f"there is no model {name!r}. Known: {', '.join(model.name for model in CATALOGUE)}")
    there = [n for n in ([name] if name else [DEFAULT_MODEL, FALLBACK_MODEL]) if store.precisions(n)]
    if there and not force and weights is None:
        err.print(f"{there[0]} is there.", highlight=False)
        return
    _build(store, name, weights)


def _build(store: ArtefactStore, name: str | None, weights: Path | None) -> None:
    _say("Loading torch …")
    from modelzoo.build import build as build_artefact  # noqa: PLC0415  # torch takes seconds; only the build needs it
    from modelzoo.default import build_default  # noqa: PLC0415
    from modelzoo.weights import WeightsMissing, WrongWeights  # noqa: PLC0415

    model = BY_NAME[name] if name else None
    try:
        if model is None:
            model = build_default(store, _say, weights)
        else:
            build_artefact(model, store, weights, _say)
    except WrongAnswer as error:
        fail(f"the build went wrong, and nothing was published: {error}", code=1)
    except (WeightsMissing, WrongWeights) as error:
        if model is not None:
            store.note_missing(model.name, str(error))
        fail(
            f"{name or DEFAULT_MODEL} cannot be built: {str(error).rstrip('.')}. If you have the file: --weights FILE",
            code=1,
        )
    except OSError as error:
        fail(
            f"the artefact cannot be written to {store.root}: {error.strerror or error}. "
            "Free some space, or name another --models-dir",
            code=1,
        )
    _say(f"{model.title} is ready: {store.root / model.name}")


def _say(message: str) -> None:
    err.print(message, markup=False, soft_wrap=True)
