"""`ninefold models`: list what is there; make more of it."""

from __future__ import annotations

import typer
from rich.table import Table

from cli.build import build
from cli.console import out
from cli.options import DEFAULT_DIR, ModelsDir
from cli.prune import prune
from cli.quantize import quantize
from inference.artefacts import ArtefactStore
from inference.catalogue import CATALOGUE
from inference.choice import why_missing
from inference.detectors import DETECTORS

app = typer.Typer(help="Build models, and list them.", no_args_is_help=True)


@app.command("list")
def list_models(models_dir: ModelsDir = DEFAULT_DIR) -> None:
    """Every model, the precisions it is there in, and why another is missing; then the detectors."""
    store = ArtefactStore(models_dir)
    table = Table("model", "precisions", "size", "note", box=None, pad_edge=False)
    for model in (*CATALOGUE, *DETECTORS):
        built = store.of(model.name)
        if built:
            size = f"{sum(artefact.card.size_bytes for artefact in built) / 1e6:.0f} MB"
            table.add_row(model.name, ", ".join(a.card.precision for a in built), size, model.title)
        elif not model.for_measurements_only:
            table.add_row(model.name, "–", "–", why_missing(store, model.name))
    out.print(table)


app.command()(build)
app.command()(quantize)
app.command()(prune)
