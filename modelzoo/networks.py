"""Architectures by name, with weights loaded into them: a torch module in eval mode, in float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torchvision
from efficientnet_lite_pytorch import EfficientNet

from inference.catalogue import Model
from inference.torch_classifier import Normalised
from modelzoo.weights import Weights

SEED = 9
_NOISE = (8, 3, 96, 96)


def imagenet_labels() -> tuple[str, ...]:
    """The thousand class names in index order, as torchvision's weight metadata gives them."""
    return tuple(torchvision.models.ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def build_network(model: Model, weights: Weights | None) -> Normalised:
    """The model's network with `weights` (None: seeded random ones) and its normalisation as layer 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        network = _architecture(model.architecture).eval()
        if weights is None:
            _keep_alive(network)
    if weights is not None:
        network.load_state_dict(torch.load(weights.path, map_location="cpu", weights_only=True))
    return Normalised(network, model.transform).eval()


def _architecture(name: str) -> torch.nn.Module:
    if name.startswith("timm/"):
        import timm  # noqa: PLC0415  # it takes a second or two, and most builds need none of it

        return timm.create_model(name.removeprefix("timm/"))
    if name.startswith("efficientnet-lite"):
        return EfficientNet.from_name(name)  # type: ignore[no-any-return]
    return torchvision.models.get_model(name, weights=None)  # type: ignore[no-any-return]


def _keep_alive(network: torch.nn.Module) -> None:
    """Sets batch normalisation's statistics by one look at noise, where random depthwise convolutions need it.

    As they are initialised, each makes the signal weaker: pictures would hardly move the logits, and no comparison of
    two engines or precisions would say anything. Networks without them, the ResNets, stay as they are.
    """
    modules = list(network.modules())
    if not any(isinstance(module, torch.nn.Conv2d) and module.groups > 1 for module in modules):
        return
    settle_norms(network, lambda: network(torch.randn(_NOISE)))


def settle_norms(network: torch.nn.Module, look: Callable[[], object]) -> None:
    """Sets batch normalisation's statistics by `look`, which shows the network noise."""
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    before = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train().momentum = 1.0
    with torch.no_grad():
        look()
    for norm, momentum in zip(norms, before, strict=True):
        norm.eval().momentum = momentum
