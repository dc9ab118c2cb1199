"""What a pruned artefact's card says of its pruning: how, on what, how many zeros where, and what it cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from inference.shares import Share


@dataclass(frozen=True)
class Layer:
    """One layer's weights: the name in torch, the shape, and how many of the numbers are zero."""

    name: str
    shape: tuple[int, ...]
    zeros: int
    weights: int


@dataclass(frozen=True)
class Score:
    """Top-1 on `images` pictures of one part (train, validation), dense and pruned; None without labels.

    `agreement`: on how many of them the pruned network has the dense one's top-1.
    """

    part: str
    images: int
    dense: Share | None
    pruned: Share | None
    agreement: Share


@dataclass(frozen=True)
class Pruning:
    """How the network was pruned and fine-tuned, and how it compares with the dense one.

    `sparsity`: zeros among all prunable weights. Sizes are those of all files of the artefact, in bytes; `loaded_bytes`
    of the weights alone, unpacked. `time_ratio`: time per image, pruned over dense, in one run on the machine that
    pruned. `digest` names weights, settings and pictures.
    """

    sparsity: float
    data: str
    settings: dict[str, float]
    scores: tuple[Score, ...]
    dense_bytes: int
    dense_zipped_bytes: int
    zipped_bytes: int
    loaded_bytes: int
    time_ratio: float
    layers: tuple[Layer, ...]
    digest: str = ""


def from_dict(data: dict[str, Any]) -> Pruning:
    """Reads what `dataclasses.asdict` and JSON made of a Pruning. Raises KeyError or TypeError."""
    layers = tuple(Layer(**{**layer, "shape": tuple(layer["shape"])}) for layer in data["layers"])
    scores = tuple(
        Score(
            score["part"], score["images"], _share(score["dense"]), _share(score["pruned"]), Share(**score["agreement"])
        )
        for score in data["scores"]
    )
    return Pruning(**{**data, "scores": scores, "layers": layers})


def _share(data: dict[str, float] | None) -> Share | None:
    return None if data is None else Share(**data)
