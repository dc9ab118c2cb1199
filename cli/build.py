"""`ninefold models build`: weights to artefacts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from cli.console import complain, fail, say
from cli.options import DEFAULT_DIR, Device, ModelsDir
from inference.artefacts import ArtefactStore
from inference.catalogue import BY_NAME, CATALOGUE, DEFAULT_MODEL, FALLBACK_MODEL
from inference.choice import is_built
from inference.classifier import WrongAnswer
from inference.detectors import DETECTORS, DETECTORS_BY_NAME

ALL = "all"
PUBLISHED = [model.name for model in CATALOGUE if not model.for_measurements_only]
_DETECTORS = [detector.name for detector in DETECTORS if not detector.for_measurements_only]


def build(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME|all",
            help="Which models; `all`: every one that classifies and whose weights are published. Detectors are named: "
            f"{' or '.join(_DETECTORS)}. Without one: the default, or what replaces it.",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        typer.Option(
            help="A local file of the very weights, for machines without the network; "
            "of a detector the folder with its config.json and model.safetensors."
        ),
    ] = None,
    force: Annotated[bool, typer.Option(help="Build it again even if it is there.")] = False,
    device: Device = "CPU",
    models_dir: ModelsDir = DEFAULT_DIR,
) -> None:
    """Turn weights into artefacts: download or read them, check their hash, convert, measure.

    Of several models, one that cannot be built does not keep back the others; the exit code is 1 all the same.
    """
    store = ArtefactStore(models_dir)
    wanted = _wanted(names)
    if weights is not None and len(wanted) > 1:
        fail("--weights is the file of one model: name that one alone")
    failed = [name for name in wanted if not _ensure(store, name, weights, force, device)]
    if len(wanted) > 1:
        missing = f"; not there, for the reasons above: {', '.join(map(str, failed))}" if failed else ""
        say(f"{len(wanted) - len(failed)} of {len(wanted)} models are there{missing}.")
    if failed:
        raise typer.Exit(1)


def _wanted(names: list[str] | None) -> list[str | None]:
    """The models that were named, each once; None: the default, or what replaces it."""
    named: Sequence[str | None] = names or (os.environ.get("NINEFOLD_MODEL") or None,)
    for name in named:
        if name not in (*BY_NAME, *DETECTORS_BY_NAME, ALL, None):
            fail(f"there is no model {name!r}. Known: {', '.join(PUBLISHED)}; detectors: {', '.join(_DETECTORS)}")
    return list(dict.fromkeys(one for name in named for one in (PUBLISHED if name == ALL else [name])))


def _ensure(store: ArtefactStore, name: str | None, weights: Path | None, force: bool, device: str) -> bool:
    """Builds the model unless it is there. False: it cannot be had, and that was said and noted."""
    there = [found for found in ([name] if name else [DEFAULT_MODEL, FALLBACK_MODEL]) if is_built(store, found, device)]
    if there and not force and weights is None:
        say(f"{there[0]} is there.")
        return True
    return _build(store, name, weights, device)


def _build(store: ArtefactStore, name: str | None, weights: Path | None, device: str) -> bool:
    if "torch" not in sys.modules:
        say("Loading torch …")
    from modelzoo.weights import WeightsMissing, WrongWeights  # noqa: PLC0415  # torch takes seconds

    try:
        title, name = _made(store, name, weights, device)
    except WrongAnswer as error:
        complain(f"the build of {name or DEFAULT_MODEL} went wrong, and nothing was published: {error}")
        return False
    except (WeightsMissing, WrongWeights) as error:
        if name is not None:
            store.note_missing(name, str(error))
        have = "the folder: --weights DIR" if name in DETECTORS_BY_NAME else "the file: --weights FILE"
        complain(f"{name or DEFAULT_MODEL} cannot be built: {str(error).rstrip('.')}. If you have {have}")
        return False
    except OSError as error:
        fail(
            f"the artefact cannot be written to {store.root}: {error.strerror or error}. "
            "Free some space, or name another --models-dir",
            code=1,
        )
    say(f"{title} is ready: {store.root / name}")
    return True


def _made(store: ArtefactStore, name: str | None, weights: Path | None, device: str) -> tuple[str, str]:
    """Builds it; its title and name. Raises what the build raises."""
    if name in DETECTORS_BY_NAME:
        from modelzoo.detectors import build_detector  # noqa: PLC0415

        detector = DETECTORS_BY_NAME[name]
        build_detector(detector, store, weights, say, device)
        return detector.title, detector.name
    from modelzoo.build import build as build_artefact  # noqa: PLC0415  # only the build needs it
    from modelzoo.default import build_default  # noqa: PLC0415

    if name is None:
        model = build_default(store, say, weights, device)
    else:
        model = BY_NAME[name]
        build_artefact(model, store, weights, say, device)
    return model.title, model.name
