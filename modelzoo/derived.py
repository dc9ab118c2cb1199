"""What every precision made of fp32 starts from, and ends in."""

from __future__ import annotations

from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.card import Expected, Golden
from inference.catalogue import Model
from inference.choice import ModelMissing
from inference.classifier import Logits, WrongAnswer, top_k

TOLERANCE = 0.05
"""How far the golden image's top-1 probability may be off on another processor."""


def fp32_of(store: ArtefactStore, model: Model) -> Artefact:
    """The dense artefact, as its card describes it. Raises ModelMissing, BadCard, DamagedArtefact."""
    source = store.get(Variant(model.name, "fp32"))
    if source is None:
        raise ModelMissing(
            f"{model.name} must be there in fp32 first. The command `ninefold models build {model.name}` adds it."
        )
    source.verify()
    return source


def golden_of(artefact: Artefact, logits: Logits) -> Golden:
    """What this very artefact says, once that was seen to be what fp32 says; of random weights anything is right."""
    golden, labels = artefact.card.golden, artefact.card.labels
    predictions = tuple(Expected(found.label, found.index, found.probability) for found in top_k(logits, labels, 5))
    if artefact.card.origin.kind != "seeded" and predictions[0].index != golden.predictions[0].index:
        said, expected = predictions[0].label, golden.predictions[0].label
        raise WrongAnswer(f"{artefact.variant} calls its golden image {said!r}, and fp32 {expected!r}")
    return Golden(golden.image, predictions, TOLERANCE)
