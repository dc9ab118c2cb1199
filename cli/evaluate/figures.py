"""All that an evaluation says, as one dictionary: what `evaluation.json` holds and every other form is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from cli.evaluate.choosing import Missing
from cli.evaluate.kept import Answers
from cli.evaluate.timing import Speed
from inference.artefacts import Artefact
from inference.catalogue import BY_NAME
from inference.shares import share_of

FORMAT = 1

Figures = dict[str, Any]
Truth = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Measured:
    """A variant, what it answered and how fast, and how many bytes its files take when zipped."""

    artefact: Artefact
    answers: Answers
    speed: Speed
    zipped_bytes: int


def share(hits: int, of: int) -> dict[str, float] | None:
    """The share, and Wilson's interval of it at 95 %; None of none."""
    return asdict(share_of(hits, of)) if of else None


def figures(
    data: dict[str, Any],
    machine: dict[str, Any],
    truth: Sequence[int],
    measured: Sequence[Measured],
    missing: Sequence[Missing],
) -> Figures:
    """The whole; `truth` has the index of each picture's class."""
    references = {each.artefact.card.model: each.answers for each in measured if each.artefact.card.precision == "fp32"}
    known, device = np.array(truth, dtype=np.int64), machine.get("device", "CPU")
    return {
        "format": FORMAT,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": data,
        "machine": machine,
        "variants": [_variant(each, known, references.get(each.artefact.card.model), device) for each in measured],
        "missing": [asdict(each) for each in missing],
    }


def _variant(each: Measured, truth: Truth, reference: Answers | None, device: str) -> Figures:
    card, top = each.artefact.card, each.answers.top
    answered = top[:, 0] >= 0
    count = int(answered.sum())
    right = top == truth[:, None]
    return {
        "model": card.model,
        "title": card.title,
        "precision": card.precision,
        "random": card.model in BY_NAME and BY_NAME[card.model].for_measurements_only,
        "images": len(truth),
        "errors": len(truth) - count,
        "top1": share(int(right[:, 0].sum()), count),
        "top5": share(int(right.any(axis=1).sum()), count),
        "agreement": None if card.precision == "fp32" or reference is None else _agreement(each.answers, reference),
        **asdict(each.speed),
        "size_bytes": card.size_on(device),
        "zipped_bytes": each.zipped_bytes,
    }


def _agreement(ours: Answers, theirs: Answers) -> dict[str, float] | None:
    """How often both have the same top-1, of the pictures that both answered."""
    both = (ours.top[:, 0] >= 0) & (theirs.top[:, 0] >= 0)
    return share(int((ours.top[both, 0] == theirs.top[both, 0]).sum()), int(both.sum()))
