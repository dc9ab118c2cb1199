"""Makes sure that some model answers: the one asked for, else the default, else the fallback that needs no network."""

from __future__ import annotations

from pathlib import Path

from inference.artefacts import ArtefactStore
from inference.catalogue import BY_NAME, DEFAULT_MODEL, FALLBACK_MODEL, Model
from inference.choice import is_built
from modelzoo.build import Say, build
from modelzoo.weights import WeightsMissing, WrongWeights


def build_default(store: ArtefactStore, say: Say, local: Path | None = None, device: str = "CPU") -> Model:
    """Builds the default model, or notes why it cannot be had and builds the fallback; returns what was built.

    Raises WeightsMissing or WrongWeights when the fallback's weights cannot be had either, or when `local` weights
    were named: then nothing else was asked for.
    """
    default, fallback = BY_NAME[DEFAULT_MODEL], BY_NAME[FALLBACK_MODEL]
    try:
        build(default, store, local, say, device)
        return default
    except (WeightsMissing, WrongWeights) as error:
        if local is not None:
            raise
        store.note_missing(default.name, str(error))
        say(f"{default.title} cannot be built: {error}.")
        say(f"{fallback.title} is built instead; its weights came with a Python package.")
    if not is_built(store, fallback.name, device):
        build(fallback, store, None, say, device)
    return fallback
