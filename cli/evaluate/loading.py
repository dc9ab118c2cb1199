"""Artefacts into classifiers: the one place here that knows an engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from inspect import getfile
from pathlib import Path

import numpy as np
import openvino as ov
import PIL

from cli.evaluate.choosing import Chosen
from contract import image_file, pieces, transform
from inference import engines
from inference.artefacts import Artefact, DamagedArtefact, sha256_of
from inference.choice import ModelMissing
from inference.classifier import Classifier, WrongAnswer, check_golden, golden_pixels
from inference.devices import cpu_count, is_cuda
from inference.openvino_classifier import memory_of

MEMORY_BUDGET = 2_000_000_000


@dataclass(frozen=True)
class Loaded:
    """An artefact that answers."""

    artefact: Artefact
    classifier: Classifier


def load(artefacts: Sequence[Artefact], threads: int, device: str, chosen: Chosen) -> list[Loaded]:
    """Those that give their golden image's answer; the others are noted as missing."""
    loaded = []
    for artefact in artefacts:
        try:
            classifier = engines.load(artefact, threads=threads, device=device)
            check_golden(artefact, classifier(golden_pixels(artefact)))
        except (DamagedArtefact, ModelMissing, WrongAnswer, RuntimeError, OSError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            chosen.lacks(artefact.card.model, f"in {artefact.card.precision}: {reason}")
        else:
            loaded.append(Loaded(artefact, classifier))
    return loaded


def packs(artefacts: Sequence[Artefact], budget: int = MEMORY_BUDGET) -> list[list[Artefact]]:
    """Groups that are in memory together (`budget`: bytes).

    All of a group see the same pixels, so that a picture is decoded once; a model's variants stay together.
    """
    models: dict[str, list[Artefact]] = {}
    for artefact in artefacts:
        models.setdefault(artefact.card.model, []).append(artefact)
    made: list[list[Artefact]] = []
    for variants in sorted(models.values(), key=lambda each: each[0].card.transform.pixels_id):
        last = made[-1] if made else []
        if last and _pixels(last) == _pixels(variants) and _bytes(last + variants) <= budget:
            last += variants
        else:
            made.append(list(variants))
    return made


def fingerprint(loaded: Loaded, device: str) -> str:
    """What decides an artefact's answers: its files, how pixels come about, the engine and what it computes in."""
    card = loaded.artefact.card
    files = {name: entry.sha256 for name, entry in card.files.items()}
    ours = [sha256_of(Path(getfile(module))) for module in (image_file, pieces, transform)]
    pixels = [card.transform.to_dict(), ours, PIL.__version__, np.__version__]
    engine = version("torch") if is_cuda(device) else ov.__version__
    computes_in = getattr(loaded.classifier, "computes_in", None) if device == "CPU" else None
    decisive = [card.model, card.precision, files, pixels, engine, device, computes_in]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def machine(device: str) -> dict[str, str | int]:
    """What computed, the processor's name, how many of its cores are used, and OpenVINO's version."""
    processor = str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    return {
        "device": device,
        "processor": processor,
        "cores": cpu_count(),
        "openvino": ov.__version__.partition("-")[0],
    }


def _pixels(artefacts: Sequence[Artefact]) -> str:
    return artefacts[0].card.transform.pixels_id


def _bytes(artefacts: Sequence[Artefact]) -> int:
    """About what they hold while loaded."""
    return sum(memory_of(artefact.card) for artefact in artefacts)
