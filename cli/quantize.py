"""`ninefold models quantize`: a lower precision of what was built."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

from cli.build import ALL, PUBLISHED
from cli.console import complain, fail, say
from cli.options import DEFAULT_DIR, Device, ModelsDir
from inference.artefacts import ArtefactStore, DamagedArtefact, Variant
from inference.card import BadCard, Card
from inference.catalogue import BY_NAME
from inference.choice import ModelMissing, ModelUnknown, choose, made_of, resolve, why_not_faster
from inference.classifier import WrongAnswer
from inference.detectors import DETECTORS_BY_NAME
from inference.devices import PROGRAM_NAME, faster_precision, is_cuda

Precision = Literal["int8", "fp16", "bf16"]


def quantize(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|all",
            help="Which models, built before; `all`: every one of those that `build all` builds which is there. "
            "Without one: the one that answers by default.",
        ),
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
    """Make the int8 (or fp16, bf16) variant of models from their fp32 ones, and measure how far each agrees with that.

    Of several models, one that cannot be made does not keep back the others; the exit code is 1 all the same.
    """
    store = ArtefactStore(models_dir)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is half made is swept away
    precision = precision or cast(Precision, faster_precision(device))
    wanted = _wanted(store, names, device)
    failed = [model for model in wanted if not _ensure(store, Variant(model, precision), calibration, force, device)]
    if len(wanted) != 1:
        missing = f"; not made, for the reasons above: {', '.join(failed)}" if failed else ""
        say(f"{len(wanted) - len(failed)} of {len(wanted)} models are there in {precision}{missing}.")
    if failed:
        raise typer.Exit(1)


def _wanted(store: ArtefactStore, names: list[str] | None, device: str) -> list[str]:
    """The models that were named, each once; without a name the one that answers by default."""
    named = names or [os.environ.get("NINEFOLD_MODEL") or _default(store, device)]
    for name in named:
        if name in DETECTORS_BY_NAME:
            fail(f"{name} is a detector, and those answer in fp32 alone", code=1)
        if name not in (*BY_NAME, ALL):
            fail(f"there is no model {name!r}. Known: {', '.join(PUBLISHED)}", code=1)
    there = [name for name in PUBLISHED if "fp32" in store.precisions(name)]
    return list(dict.fromkeys(one for name in named for one in (there if name == ALL else [name])))


def _default(store: ArtefactStore, device: str) -> str:
    try:
        return choose(store, device=_source(device)).variant.model
    except (ModelMissing, ModelUnknown, BadCard) as error:
        fail(str(error), code=1)


def _source(device: str) -> str:
    """The device whose fp32 it is made of: what OpenVINO reads is the same for all of its own."""
    return device if is_cuda(device) else "CPU"


def _ensure(store: ArtefactStore, wanted: Variant, calibration: Path | None, force: bool, device: str) -> bool:
    """Makes it unless it is there. False: it cannot be made, and that was said."""
    try:
        resolve(store, wanted.model, "fp32", _source(device))
    except (ModelMissing, BadCard) as error:
        complain(str(error))
        return False
    if _is_there(store, wanted, device) and not force and calibration is None:
        say(f"{wanted} is there.")
        return True
    return _make(store, wanted, calibration, device)


def _make(store: ArtefactStore, wanted: Variant, calibration: Path | None, device: str) -> bool:
    if "modelzoo.quantize" not in sys.modules:
        say("Loading NNCF …" if wanted.precision == "int8" else "Loading torch …")
    from modelzoo.photographs import NoPhotographs, bundled, from_folder  # noqa: PLC0415  # loads much
    from modelzoo.quantize import MAKERS, MAKERS_FOR_CUDA  # noqa: PLC0415

    make = (MAKERS_FOR_CUDA if is_cuda(device) else MAKERS)[wanted.precision]
    try:
        artefact = make(BY_NAME[wanted.model], store, from_folder(calibration) if calibration else bundled(), say)
    except (NoPhotographs, ModelMissing, BadCard, DamagedArtefact, WrongAnswer) as error:
        complain(f"{wanted} was not made: {error}")
        return False
    except OSError as error:
        fail(f"the artefact cannot be written to {store.root}: {error.strerror or error}", code=1)
    _report(artefact.card, store, device)
    return True


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
