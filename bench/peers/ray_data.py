"""A zip to JSON lines by Ray Data, the way of its page on batch inference: tasks decode, actors hold the network.

python bench/peers/ray_data.py FOLDER ZIP OUT

Every actor and task takes half a core, so that neither decoding nor inference leaves a core to itself idle.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from everyday import ResNet, tensor

BATCH = 32


def decode(batch: dict[str, Any], archive: Path) -> dict[str, Any]:
    """Names to tensors; every worker opens the zip for itself."""
    with zipfile.ZipFile(archive) as opened:
        pictures = [tensor(opened.read(name)).numpy() for name in batch["name"]]
    return {"name": batch["name"], "pixels": np.stack(pictures)}


class Infer:
    """Tensors to answers."""

    def __init__(self, folder: Path) -> None:
        self._resnet = ResNet(folder)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """One batch."""
        answers = self._resnet.answers(torch.from_numpy(np.array(batch["pixels"])))
        return {"name": batch["name"], "answer": [json.dumps(answer) for answer in answers]}


def main(folder: Path, archive: Path, out: Path) -> None:
    """Ray of its own, on this machine alone."""
    ray.init(include_dashboard=False, log_to_driver=False, _node_ip_address="127.0.0.1")
    ray.data.DataContext.get_current().enable_progress_bars = False
    with zipfile.ZipFile(archive) as opened:
        names = opened.namelist()
    actors = ray.data.ActorPoolStrategy(size=os.cpu_count() or 1)
    answered = (
        ray.data.from_items([{"name": name} for name in names], override_num_blocks=max(len(names) // BATCH, 1))
        .map_batches(decode, fn_kwargs={"archive": archive}, batch_size=BATCH, num_cpus=0.5)
        .map_batches(Infer, fn_constructor_args=(folder,), batch_size=BATCH, num_cpus=0.5, compute=actors)
    )
    with out.open("w", encoding="utf-8") as lines:
        for row in answered.iter_rows():
            lines.write(json.dumps({"name": row["name"], **json.loads(row["answer"])}) + "\n")
    ray.shutdown()


if __name__ == "__main__":
    main(*(Path(word) for word in sys.argv[1:4]))
