"""`ninefold models`: list what is there; make more of it."""

from __future__ import annotations

from collections.abc import Iterable

import typer
from rich.table import Table

from cli.build import build
from cli.console import out
from cli.options import DEFAULT_DIR, ModelsDir
from cli.prune import prune
from cli.quantize import quantize
from inference.artefacts import ArtefactStore
from inference.catalogue import CATALOGUE, Model
from inference.choice import why_missing
from inference.detectors import DETECTORS, Detector

app = typer.Typer(help="Build models, and list them.", no_args_is_help=True)


@app.command("list")
def list_models(models_dir: ModelsDir = DEFAULT_DIR) -> None:
    """Every model, the precisions it is there in, and why another is missing; then the detectors."""
    store = ArtefactStore(models_dir)
    out.print(_table("model", CATALOGUE, store))
    out.print()
    out.print(_table("detector", DETECTORS, store))


def _table(kind: str, entries: Iterable[Model | Detector], store: ArtefactStore) -> Table:
    """A row an entry: built, or missing and why. Random weights have one only once they were built."""
    table = Table(kind, "precisions", "size", "note", box=None, pad_edge=False)
    for entry in entries:
        built = store.of(entry.name)
        if built:
            size = f"{sum(artefact.card.size_bytes for artefact in built) / 1e6:.0f} MB"
            table.add_row(entry.name, ", ".join(a.card.precision for a in built), size, entry.title)
        elif not entry.for_measurements_only:
            table.add_row(entry.name, "–", "–", why_missing(store, entry.name))
    return table


app.command()(build)
app.command()(quantize)
app.command()(prune)
