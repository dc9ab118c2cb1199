"""mosec with torch in two stages: decoding processes, one batching inference process.

PEER_FOLDER=FOLDER python bench/peers/mosec_server.py --address 127.0.0.1 --port PORT (its own options)
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from everyday import BATCH, WAIT_SECONDS, ResNet, tensor
from mosec import Server, Worker


class Decode(Worker):
    """The body is the picture."""

    def deserialize(self, data: bytes) -> bytes:
        """As it came."""
        return data

    def forward(self, data: bytes) -> Any:
        """One picture."""
        return tensor(data).numpy()


class Infer(Worker):
    """Batches what waits."""

    def __init__(self) -> None:
        super().__init__()
        self.resnet = ResNet(Path(os.environ["PEER_FOLDER"]))

    def forward(self, data: list[Any]) -> list[dict[str, Any]]:
        """Several pictures."""
        return self.resnet.answers(torch.from_numpy(np.stack(data)))


if __name__ == "__main__":
    server = Server()
    server.append_worker(Decode, num=os.cpu_count() or 1, timeout=30)
    server.append_worker(Infer, max_batch_size=BATCH, max_wait_time=int(WAIT_SECONDS * 1000), timeout=30)
    server.run()
