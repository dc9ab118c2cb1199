"""The reference: the same network in torch, in float32. The one module of this package that imports torch."""

from __future__ import annotations

import numpy as np
import torch

from contract.transform import Pixels, TransformSpec
from inference.classifier import Logits, check_pixels


class Normalised(torch.nn.Module):
    """A network with its normalisation as layer 0: uint8[N,H,W,3] → float32[N,C]."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, network: torch.nn.Module, spec: TransformSpec) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("mean", torch.tensor(spec.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(spec.std).view(1, 3, 1, 1))

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels to logits."""
        scaled = pixels.permute(0, 3, 1, 2).float() / 255
        logits: torch.Tensor = self.network((scaled - self.mean) / self.std)
        return logits


class TorchClassifier:
    """Any torch network as a Classifier, on the device it lies on."""

    max_batch = 32

    def __init__(self, network: Normalised, spec: TransformSpec, device: str = "cpu") -> None:
        self._network = network.eval().to(device)
        self._side = spec.crop
        self._device = device
        self.memory_bytes = sum(p.numel() * p.element_size() for p in network.parameters())

    def __call__(self, pixels: Pixels) -> Logits:
        """uint8[N,H,W,3] → float32[N,C]. Raises ValueError on another shape or type."""
        check_pixels(pixels, self._side)
        with torch.inference_mode():
            tensor = torch.from_numpy(np.ascontiguousarray(pixels)).to(self._device)
            return np.asarray(self._network(tensor).float().cpu().numpy())
