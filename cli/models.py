"""`ninefold models`: build artefacts, and list what is there."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Literal, cast

import typer
from rich.table import Table

from cli.console import err, fail, out
from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact, Variant
from inference.card import BadCard
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL, Model
from inference.choice import ModelMissing, ModelUnknown, choose, is_built, made_of, resolve, why_missing, why_not_faster
from inference.classifier import WrongAnswer
from inference.devices import PROGRAM_NAME, faster_precision, is_cuda

app = typer.Typer(help="Build models, and list them.", no_args_is_help=True)

ModelsDir = Annotated[
    Path, typer.Option("--models-dir", envvar="NINEFOLD_MODELS_DIR", help="The folder of all artefacts.")
]
Precision = Literal["int8", "fp16", "bf16"]
Device = Annotated[
    str,
    typer.Option(
        envvar="NINEFOLD_DEVICE",
        help="What computes: CPU, another device of OpenVINO's, or CUDA, which needs models built for it.",
        callback=lambda name: name.strip().upper(),
    ),
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
    device: Device = "CPU",
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Turn weights into an artefact: download or read them, check their hash, convert, measure."""
    store = ArtefactStore(models_dir)
    name = name or os.environ.get("NINEFOLD_MODEL") or None
    if name is not None and name not in BY_NAME:
        fail(f"there is no model {name!r}. Known: {', '.join(model.name for model in CATALOGUE)}")
    there = [n for n in ([name] if name else [DEFAULT_MODEL, FALLBACK_MODEL]) if is_built(store, n, device)]
    if there and not force and weights is None:
        err.print(f"{there[0]} is there.", highlight=False)
        return
    _build(store, name, weights, device)


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
    precision: Annotated[
        Precision | None,
        typer.Option(help="Without it: int8, on CUDA fp16. On a CPU bf16 is for those that compute it in hardware."),
    ] = None,
    force: Annotated[bool, typer.Option(help="Make it again even if it is there.")] = False,
    device: Device = "CPU",
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Make the int8 (or bf16) variant of a model from its fp32 one, and measure how far it agrees with that."""
    store = ArtefactStore(models_dir)
    name = name or os.environ.get("NINEFOLD_MODEL") or None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is half made is swept away
    try:
        chosen = resolve(store, name, "fp32", device) if name else choose(store, device=device).variant
    except (ModelMissing, ModelUnknown, BadCard) as error:
        fail(str(error), code=1)
    model, precision = BY_NAME[chosen.model], precision or cast(Precision, faster_precision(device))
    if _is_there(store, Variant(model.name, precision), device) and not force and calibration is None:
        err.print(f"{model.name} {precision} is there.", highlight=False)
        return
    artefact = _make(model, store, precision, calibration, device)
    agreement = artefact.card.agreement
    share = f"{agreement.top1:.1%} of {agreement.images} pictures"
    _say(f"{model.title} is there in {precision}: the top-1 of fp32 on {share}.")
    if precision == faster_precision(device) and (why := why_not_faster(store, model.name, device)):
        _say(f"It does not become the default: {why}")


def _make(model: Model, store: ArtefactStore, precision: Precision, calibration: Path | None, device: str) -> Artefact:
    _say("Loading torch …" if is_cuda(device) else "Loading NNCF …")
    from modelzoo.photographs import NoPhotographs, bundled, from_folder  # noqa: PLC0415  # loads much
    from modelzoo.quantize import convert_to_bf16, lower_for_cuda, quantize  # noqa: PLC0415

    try:
        photographs = from_folder(calibration) if calibration else bundled()
        if is_cuda(device) and precision != "int8":
            return lower_for_cuda(model, store, photographs, _say, precision)
        make = quantize if precision == "int8" else convert_to_bf16
        return make(model, store, photographs, _say)
    except (NoPhotographs, ModelMissing, DamagedArtefact, WrongAnswer) as error:
        fail(f"{precision} was not made: {error}", code=1)
    except OSError as error:
        fail(f"the artefact cannot be written to {store.root}: {error.strerror or error}", code=1)


def _is_there(store: ArtefactStore, variant: Variant, device: str) -> bool:
    """Made of the weights that fp32 has now and for this kind of device, whether its gate holds or not."""
    try:
        artefact, fp32 = store.get(variant), store.get(Variant(variant.model, "fp32"))
        if artefact is None or fp32 is None or not made_of(artefact, fp32):
            return False
        if (PROGRAM_NAME in artefact.card.files) != (is_cuda(device) and variant.precision != "int8"):
            return False
        artefact.verify()
    except (BadCard, DamagedArtefact):
        return False
    return True


def _build(store: ArtefactStore, name: str | None, weights: Path | None, device: str) -> None:
    _say("Loading torch …")
    from modelzoo.build import build as build_artefact  # noqa: PLC0415  # torch takes seconds; only the build needs it
    from modelzoo.default import build_default  # noqa: PLC0415
    from modelzoo.weights import WeightsMissing, WrongWeights  # noqa: PLC0415

    model = BY_NAME[name] if name else None
    try:
        if model is None:
            model = build_default(store, _say, weights, device)
        else:
            build_artefact(model, store, weights, _say, device)
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
