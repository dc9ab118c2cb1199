"""A network of two layers in the place of a catalogue's, for what takes minutes with a real one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from inference.artefacts import ArtefactStore
from inference.catalogue import BY_NAME, Model
from inference.torch_classifier import Normalised
from modelzoo.build import build
from modelzoo.weights import Weights

NAME = "resnet18-seeded"


def build_network(model: Model, _weights: Weights | None) -> Normalised:
    """In the place of modelzoo.networks.build_network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 256, 16, stride=16), torch.nn.BatchNorm2d(256), torch.nn.ReLU(),
            torch.nn.AvgPool2d(14), torch.nn.Flatten(), torch.nn.Linear(256, 1000),
        )  # fmt: skip
    return Normalised(layers, model.transform).eval()


def build_tiny(folder: Path) -> None:
    """Publishes it in fp32 as resnet18-seeded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("modelzoo.build.build_network", build_network)
        build(BY_NAME[NAME], ArtefactStore(folder))
