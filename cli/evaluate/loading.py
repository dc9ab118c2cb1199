"""Artefacts into classifiers: the one place here that knows an engine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

import openvino as ov

from cli.evaluate.choosing import Chosen
from inference.artefacts import Artefact, DamagedArtefact
from inference.choice import ModelMissing
from inference.classifier import Classifier, WrongAnswer, check_golden, golden_pixels
from inference.openvino_classifier import OpenVinoClassifier, cpu_count

MEMORY_BUDGET = 2_000_000_000


@dataclass(frozen=True)
class Loaded:
    """An artefact that answers."""

    artefact: Artefact
    classifier: Classifier


def load(artefacts: Sequence[Artefact], threads: int, chosen: Chosen) -> list[Loaded]:
    """Those that give their golden image's answer; the others are noted as missing."""
    loaded = []
    for artefact in artefacts:
        try:
            classifier = OpenVinoClassifier(artefact, threads=threads)
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


def fingerprint(artefact: Artefact) -> str:
    """What decides an artefact's answers: its files, what it sees, and the engine."""
    card = artefact.card
    files = {name: entry.sha256 for name, entry in card.files.items()}
    decisive = [card.model, card.precision, files, card.transform.to_dict(), ov.__version__]
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def machine() -> dict[str, str | int]:
    """The processor's name, how many of its cores are used, and OpenVINO's version."""
    processor = str(ov.Core().get_property("CPU", "FULL_DEVICE_NAME")).strip()
    return {"processor": processor, "cores": cpu_count(), "openvino": ov.__version__.partition("-")[0]}


def _pixels(artefacts: Sequence[Artefact]) -> str:
    return artefacts[0].card.transform.pixels_id


def _bytes(artefacts: Sequence[Artefact]) -> int:
    """About what they hold while loaded."""
    return sum(2 * artefact.card.size_bytes for artefact in artefacts)
