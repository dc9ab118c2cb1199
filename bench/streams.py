"""One image an inference on as many streams as there are cores, against batches: what docs/adr/0004 was decided on.

    python -m bench.streams

In process, on noise (speed does not depend on the numbers), the ways taking turns; medians of several rounds, as a
ratio to the first. Each way compiles a network of its own.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path

import numpy as np
import openvino as ov
from rich.console import Console
from rich.table import Table

from inference.artefacts import ArtefactStore, Variant
from inference.devices import cpu_count
from inference.ir import MODEL_NAME

IMAGES, ROUNDS, BATCH = 90, 7, 9


class Way:
    """A network for batches of `batch` images (0: any number, asked with BATCH) on `streams` streams."""

    def __init__(self, path: Path, batch: int, streams: int) -> None:
        network = ov.Core().read_model(path)
        side = network.input(0).partial_shape[1].get_length()
        if batch:
            network.reshape([batch, side, side, 3])
        options = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": cpu_count(), "INFERENCE_PRECISION_HINT": "f32"}
        self._size = batch or BATCH
        self._queue = ov.AsyncInferQueue(ov.Core().compile_model(network, "CPU", options), streams)
        self._pixels = np.random.default_rng(0).integers(0, 256, (self._size, side, side, 3), dtype=np.uint8)
        self.seconds: list[float] = []

    def measure(self) -> None:
        """One round over IMAGES images."""
        begun = time.perf_counter()
        for _ in range(IMAGES // self._size):
            self._queue.start_async({0: self._pixels})
        self._queue.wait_all()
        self.seconds.append(time.perf_counter() - begun)


def main() -> None:
    """Prints one table."""
    artefact = ArtefactStore(Path("models")).get(Variant("efficientnet_lite0", "fp32"))
    if artefact is None:
        raise SystemExit("bench: build the model first: ninefold models build efficientnet_lite0")
    path, cores = artefact.folder / MODEL_NAME, cpu_count()
    ways = {
        f"one image, {cores} streams": Way(path, 1, cores),
        "one image, 1 stream": Way(path, 1, 1),
        f"batches of {BATCH}, {cores} streams": Way(path, BATCH, cores),
        f"batches of {BATCH}, 1 stream": Way(path, BATCH, 1),
        f"batches of {BATCH}, any size allowed, {cores} streams": Way(path, 0, cores),
    }
    for way in ways.values():
        way.measure()
        way.seconds.clear()
    for _ in range(ROUNDS):
        for way in ways.values():
            way.measure()
    first = statistics.median(next(iter(ways.values())).seconds)
    table = Table("way", "images/s, as a ratio", title=f"{artefact.variant}, {cores} cores")
    for name, way in ways.items():
        table.add_row(name, f"{first / statistics.median(way.seconds):.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
