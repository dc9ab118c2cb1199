"""Architectures by name, with weights loaded into them: a torch module in eval mode, in float32."""

from __future__ import annotations

import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet

from inference.catalogue import Model
from inference.torch_classifier import Normalised
from modelzoo.weights import Weights

SEED = 9


def imagenet_labels() -> tuple[str, ...]:
    """The thousand class names in index order, as torchvision's weight metadata gives them."""
    return tuple(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def build_network(model: Model, weights: Weights | None) -> Normalised:
    """The model's network with `weights` (None: seeded random ones) and its normalisation as layer 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = _architecture(model.architecture)
    if weights is not None:
        network.load_state_dict(torch.load(weights.path, map_location="cpu", weights_only=True))
    return Normalised(network.eval(), model.transform).eval()


def _architecture(name: str) -> torch.nn.Module:
    if name.startswith("efficientnet-lite"):
        return EfficientNet.from_name(name)  # type: ignore[no-any-return]
    return torchvision.models.get_model(name, weights=None)  # type: ignore[no-any-return]
