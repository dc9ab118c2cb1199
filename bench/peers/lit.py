"""LitServe with torch, batched its own way (max_batch_size, batch_timeout).  python bench/peers/lit.py FOLDER PORT"""

import sys
from pathlib import Path
from typing import Any

import litserve as ls
import torch
from everyday import BATCH, WAIT_SECONDS, ResNet, tensor
from fastapi import Request


class Api(ls.LitAPI):
    """One worker, as is its default."""

    def setup(self, _: str) -> None:
        """Once in the worker."""
        self.resnet = ResNet(Path(sys.argv[1]))

    def decode_request(self, request: Request) -> torch.Tensor:
        """One picture: LitServe hands the form over where the annotation is Request, so it must be a real one."""
        return tensor(request["image"].file.read())

    def batch(self, inputs: list[torch.Tensor]) -> torch.Tensor:
        """Several pictures."""
        return torch.stack(inputs)

    def predict(self, batch: torch.Tensor) -> list[dict[str, Any]]:
        """Their answers."""
        return self.resnet.answers(batch)

    def unbatch(self, output: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Each its own."""
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=WAIT_SECONDS)
    server = ls.LitServer(api, accelerator="cpu")
    server.run(host="127.0.0.1", port=int(sys.argv[2]), generate_client_file=False, log_level="warning")
