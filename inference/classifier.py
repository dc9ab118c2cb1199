"""The seam between pixels and logits, and what makes predictions of logits.

    uint8[N,H,W,3] --Classifier--> float32[N,C] logits --top_k--> [{label, index, probability}]

Normalisation is layer 0 of every artefact, so a classifier takes pixels as `contract.transform` yields them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from contract.transform import Pixels, to_pixels
from inference.artefacts import Artefact

Logits = npt.NDArray[np.float32]


class Classifier(Protocol):
    """One variant, loaded. Calls may come from several threads at once; each answer is the caller's to keep."""

    @property
    def max_batch(self) -> int:
        """How many images one call should carry at the most to be served well."""

    @property
    def memory_bytes(self) -> int:
        """About how much memory it holds while loaded."""

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3] → float32[N,C]. Raises ValueError on another shape or type."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One of the top_k: a class's name, its index, its softmax probability."""

    label: str
    index: int
    probability: float


class WrongAnswer(Exception):
    """A classifier that has no answer, or not the expected one. One that fails its golden image must not serve."""


class DeviceLost(Exception):
    """A device that answers this process no more; only a new process may have it again."""


def softmax(logits: Logits) -> npt.NDArray[np.float64]:
    """float32[…,C] → float64[…,C], each row adding up to 1."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)  # type: ignore[no-any-return]


def probabilities_of(logits: Logits) -> npt.NDArray[np.float64]:
    """The same of a network's answer; no rows give none. Raises WrongAnswer where a logit is not finite."""
    if not np.isfinite(logits).all():
        raise WrongAnswer("The network's numbers for this image are not finite: it has no answer.")
    return softmax(logits)


def top_k(logits: Logits, labels: Sequence[str], k: int) -> list[Prediction]:
    """The `k` most probable classes of one image's logits, float32[C]; the first is the most probable.

    Raises WrongAnswer where a logit is not finite.
    """
    probabilities = probabilities_of(logits)
    k = min(k, len(probabilities))
    # Only what may be among them is sorted; of equals the first comes first, as if all had been.
    least = np.partition(probabilities, -k)[-k]
    likely = np.flatnonzero(probabilities >= least)
    order = likely[np.argsort(-probabilities[likely], kind="stable")[:k]]
    return [Prediction(labels[i], i, p) for i, p in zip(order.tolist(), probabilities[order].tolist(), strict=True)]


def check_pixels(pixels: Pixels, side: int) -> None:
    """Raises ValueError unless `pixels` is uint8[N,side,side,3] with N ≥ 1."""
    if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (side, side, 3) or not len(pixels):
        raise ValueError(f"expected uint8[N,{side},{side},3], got {pixels.dtype}{list(pixels.shape)}")


def golden_pixels(artefact: Artefact) -> Pixels:
    """The golden image as a batch of one."""
    return to_pixels(artefact.golden_image, artefact.card.transform)[None]


def check_golden(artefact: Artefact, logits: Logits) -> Prediction:
    """Compares the answer to `golden_pixels` with the card's. Raises WrongAnswer."""
    expected = artefact.card.golden.predictions[0]
    got = top_k(logits[0], artefact.card.labels, 1)[0]
    off = abs(got.probability - expected.probability)
    if got.index != expected.index or not off <= artefact.card.golden.tolerance:
        raise WrongAnswer(
            f"{artefact.variant} calls its golden image {got.label!r} ({got.probability:.4f}), "
            f"and should say {expected.label!r} ({expected.probability:.4f})"
        )
    return got
