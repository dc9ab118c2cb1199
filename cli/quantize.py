"""`ninefold models quantize`: a lower precision of what was built."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from cli.console import fail, say
from cli.options import DEFAULT_DIR, Device, ModelsDir
from inference.artefacts import Artefact, ArtefactStore, DamagedArtefact, Variant
from inference.card import BadCard, Card
from inference.catalogue import BY_NAME, Model
from inference.choice import ModelMissing, ModelUnknown, choose, made_of, resolve, why_not_faster
from inference.classifier import WrongAnswer
from inference.devices import PROGRAM_NAME, faster_precision, is_cuda

Precision = Literal["int8", "fp16", "bf16"]


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
        typer.Option(
            help="Without it: int8, on CUDA fp16. On a CPU fp16 halves the file, and bf16 is for processors that "
            "compute it in hardware."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Make it again even if it is there.")] = False,
    device: Device = "CPU",
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Make the int8 (or fp16, bf16) variant of a model from its fp32 one, and measure how far it agrees with that."""
    store = ArtefactStore(models_dir)
    name = name or os.environ.get("NINEFOLD_MODEL") or None
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is half made is swept away
    try:
        source = device if is_cuda(device) else "CPU"  # what OpenVINO reads is the same for all of its devices
        chosen = resolve(store, name, "fp32", source) if name else choose(store, device=source).variant
    except (ModelMissing, ModelUnknown, BadCard) as error:
        fail(str(error), code=1)
    model, precision = BY_NAME[chosen.model], precision or cast(Precision, faster_precision(device))
    if _is_there(store, Variant(model.name, precision), device) and not force and calibration is None:
        say(f"{model.name} {precision} is there.")
        return
    artefact = _make(model, store, precision, calibration, device)
    _report(artefact.card, store, device)


def _make(model: Model, store: ArtefactStore, precision: Precision, calibration: Path | None, device: str) -> Artefact:
    say("Loading NNCF …" if precision == "int8" else "Loading torch …")
    from modelzoo.photographs import NoPhotographs, bundled, from_folder  # noqa: PLC0415  # loads much
    from modelzoo.quantize import MAKERS, MAKERS_FOR_CUDA  # noqa: PLC0415

    make = (MAKERS_FOR_CUDA if is_cuda(device) else MAKERS)[precision]
    try:
        return make(model, store, from_folder(calibration) if calibration else bundled(), say)
    except (NoPhotographs, ModelMissing, BadCard, DamagedArtefact, WrongAnswer) as error:
        fail(f"{precision} was not made: {error}", code=1)
    except OSError as error:
        fail(f"the artefact cannot be written to {store.root}: {error.strerror or error}", code=1)


def _report(card: Card, store: ArtefactStore, device: str) -> None:
    share = f"{card.agreement.top1:.1%} of {card.agreement.images} pictures"
    say(f"{card.title} is there in {card.precision}: the top-1 of fp32 on {share}.")
    if card.precision == "fp16" and card.computed_in == "f32" and not is_cuda(device):
        say("This processor has no fp16 arithmetic and computes it in fp32: half the file, no less time.")
    if card.precision == faster_precision(device) and (why := why_not_faster(store, card.model, device)):
        say(f"It does not become the default: {why}")


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
