"""`ninefold models`: build artefacts, and list what is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.table import Table

from cli.console import err, fail, out
from cli.prune import prune
from inference.artefacts import ArtefactStore, DamagedArtefact, Variant
from inference.card import BadCard
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL
from inference.choice import ModelMissing, ModelUnknown, choose, made_of, resolve, why_missing, why_not_int8
from inference.classifier import WrongAnswer

app = typer.Typer(help="Build models, and list them.", no_args_is_help=True)
app.command()(prune)

ModelsDir = Annotated[
    Path, typer.Option("--models-dir", envvar="NINEFOLD_MODELS_DIR", help="The folder of all artefacts.")
]
Precision = Literal["int8", "bf16"]
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


@app.command()
def quantize(
    name: Annotated[
        str | None, typer.Argument(help="Which model, built before. Without one: the one that answers by default.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="A folder of photographs like those that will be asked; some hundreds are good. "
            "Without it: photographs that come with scikit-image and scikit-learn."
        ),
    ] = None,
    precision: Annotated[Precision, typer.Option(help="bf16 is for processors that compute it in hardware.")] = "int8",
    force: Annotated[bool, typer.Option(help="Make it again even if it is there.")] = False,
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Make the int8 (or bf16) variant of a model from its fp32 one, and measure how far it agrees with that."""
    store = ArtefactStore(models_dir)
    name = name or os.environ.get("NINEFOLD_MODEL") or None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is half made is swept away
    try:
        model = BY_NAME[resolve(store, name, "fp32").model if name else choose(store).variant.model]
    except (ModelMissing, ModelUnknown) as error:
        fail(str(error), code=1)
    if _is_there(store, Variant(model.name, precision)) and not force and calibration is None:
        err.print(f"{model.name} {precision} is there.", highlight=False)
        return
    _say("Loading NNCF …")
    from modelzoo.photographs import NoPhotographs, bundled, from_folder  # noqa: PLC0415  # loads much
    from modelzoo.quantize import convert_to_bf16, quantize  # noqa: PLC0415

    try:
        photographs = from_folder(calibration) if calibration else bundled()
        make = quantize if precision == "int8" else convert_to_bf16
        artefact = make(model, store, photographs, _say)
    except (NoPhotographs, ModelMissing, DamagedArtefact, WrongAnswer) as error:
        fail(f"{precision} was not made: {error}", code=1)
    except OSError as error:
        fail(f"the artefact cannot be written to {store.root}: {error.strerror or error}", code=1)
    agreement = artefact.card.agreement
    share = f"{agreement.top1:.1%} of {agreement.images} pictures"
    _say(f"{model.title} is there in {precision}: the top-1 of fp32 on {share}.")
    if precision == "int8" and (why := why_not_int8(store, model.name)):
        _say(f"It does not become the default: {why}")


def _is_there(store: ArtefactStore, variant: Variant) -> bool:
    """Made of the weights that fp32 has now, whether its gate holds or not."""
    try:
        artefact, fp32 = store.get(variant), store.get(Variant(variant.model, "fp32"))
        if artefact is None or fp32 is None or not made_of(artefact, fp32):
            return False
        artefact.verify()
    except (BadCard, DamagedArtefact):
        return False
    return True


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
