"""ResNet-18 in torch as everyone writes it: Pillow, torchvision's transforms, eager mode."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torchvision import models, transforms

BATCH = 16
WAIT_SECONDS = 0.01
TRANSFORM = transforms.Compose(
    [
        transforms.Resize(256),
        transforms.CenterCrop(224),
        transforms.ToTensor(),
        transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ]
)


class ResNet:
    """The network, its labels, and from a batch to its answers."""

    def __init__(self, folder: Path) -> None:
        self._labels = (folder / "labels.txt").read_text(encoding="utf-8").splitlines()
        self._network = models.resnet18(weights=None)
        self._network.load_state_dict(torch.load(folder / "resnet18.pth", map_location="cpu", weights_only=True))
        self._network.eval()

    def answers(self, batch: torch.Tensor) -> list[dict[str, Any]]:
        """float32[N,3,224,224] to N answers."""
        with torch.inference_mode():
            probabilities = torch.softmax(self._network(batch), dim=1)
        top = probabilities.topk(5)
        return [
            {"predictions": [self._line(p, i) for p, i in zip(row, indices, strict=True)]}
            for row, indices in zip(top.values.tolist(), top.indices.tolist(), strict=True)
        ]

    def _line(self, probability: float, index: int) -> dict[str, Any]:
        return {"label": self._labels[index], "index": index, "probability": probability}


def tensor(data: bytes) -> torch.Tensor:
    """The bytes of a picture to float32[3,224,224]."""
    return TRANSFORM(Image.open(io.BytesIO(data)).convert("RGB"))  # type: ignore[no-any-return]  # torchvision is untyped
