"""BentoML with torch, batched its own way (@bentoml.api(batchable=True)).

PEER_FOLDER=FOLDER bentoml serve bento:Classifier --working-dir bench/peers --port PORT
"""

import os
from pathlib import Path
from typing import Any

import bentoml
import torch
from everyday import BATCH, TRANSFORM, ResNet
from PIL.Image import Image


@bentoml.service(traffic={"timeout": 60})
class Classifier:
    """One worker, as is its default."""

    def __init__(self) -> None:
        self.resnet = ResNet(Path(os.environ["PEER_FOLDER"]))

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=30_000)
    def predict(self, images: list[Image]) -> list[dict[str, Any]]:
        """The five most probable classes of each."""
        return self.resnet.answers(torch.stack([TRANSFORM(image.convert("RGB")) for image in images]))
