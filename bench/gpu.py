"""How near a CUDA device's own limit the server's classifier comes, and what is left of it from JPEG bytes to logits.

    .venv/bin/ninefold models build resnet18-seeded --device CUDA        # and the same of resnet50-seeded
    python -m bench.gpu                                                  # on a machine with a CUDA device
    python -m bench.gpu --device cpu --quick                             # does it run? Its figures are none of a GPU
    python -m bench.gpu --models rtdetr_r18-seeded --precision fp32      # a detector, which has fp32 alone
    python -m bench.gpu decode                                           # the device's decoder beside the processor's
    python -m bench.gpu decode --device cpu                              # its resampling alone, on a processor

In one process, the ways taking turns in each round. *Bare* is the network's CUDA graph, started again and again on
images that lie on the device, normalised: nothing around it can be faster. *Through the classifier* is what the
scheduler calls: uint8 pixels in the host's memory to logits there, by as many threads as the server has lanes. *From
JPEG bytes* is the scheduler itself: decoding in as many threads as there are processors, batches of what waits. There
is no HTTP in it; that is `ninefold loadtest` against a server with NINEFOLD_DEVICE=CUDA.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.photographs import alike, samples
from bench.roofline import images_per_second
from bench.servers import ROOT
from bench.table import bars, ran_on, ratios, spread, turns
from contract.transform import to_pixels
from inference import engines
from inference.artefacts import Artefact, ArtefactStore, Variant
from inference.devices import PROGRAM_NAME, cpu_count, is_cuda
from inference.scheduler import Priority, Scheduler
from inference.torch_runners import TYPES, load_on_torch, load_program, most_images, torch_device

MODELS = ("resnet18-seeded", "resnet50-seeded")
"""Random weights: every machine can build them, and speed does not depend on the numbers."""

SEAM, DECODE, WHOLE = "through the classifier", "decoding alone", "from JPEG bytes, through the scheduler"
NO_GPU = "a dry run on a CPU: no figure here says anything about a GPU"
_WARM_UPS, _REPLAYS, _DRY_SIZES = 3, 10, (1, 4)


def captured(compute: Callable[[], None], device: torch.device) -> Callable[[], None]:
    """What `compute` asks of a CUDA device, as a graph: all of it is started by one call."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.device(device):
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UPS):
                compute()
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            compute()
    return graph.replay


class Bare:
    """The network alone on images that lie on the device, `batch` at a time."""

    def __init__(self, artefact: Artefact, device: torch.device, batch: int) -> None:
        dtype, side = TYPES[artefact.card.precision], artefact.card.transform.crop
        self._device, self._batch = device, batch
        self._network = load_program(artefact, device).to(dtype).to(memory_format=torch.channels_last)
        images = torch.randn(batch, 3, side, side, device=device, dtype=dtype)
        self._images = images.to(memory_format=torch.channels_last)
        self._start = captured(self._once, device) if device.type == "cuda" else self._once

    def measure(self, seconds: float) -> float:
        """Images per second."""
        images, begun = 0, time.perf_counter()
        while time.perf_counter() < begun + seconds:
            for _ in range(_REPLAYS if self._device.type == "cuda" else 1):
                self._start()
                images += self._batch
            if self._device.type == "cuda":
                torch.cuda.synchronize(self._device)
        return images / (time.perf_counter() - begun)

    def _once(self) -> None:
        with torch.inference_mode():
            self._network(self._images)


class Contest:
    """One model, all ways."""

    def __init__(self, artefact: Artefact, device: torch.device, photographs: list[bytes], seconds: float) -> None:
        self._variant, self._spec = artefact.variant, artefact.card.transform
        self._data, self._seconds = photographs, seconds
        sizes = None if device.type == "cuda" else _DRY_SIZES
        self.classifier = load_on_torch(artefact, device, engines.lanes("CUDA"), sizes)
        # After the classifier, which has set how the device computes for both.
        largest = most_images(artefact.card) if device.type == "cuda" else self.classifier.max_batch
        self._bare = {
            f"bare, {batch} at a time": Bare(artefact, device, batch)
            for batch in dict.fromkeys([self.classifier.max_batch, largest])
        }
        shape = (self.classifier.max_batch, self._spec.crop, self._spec.crop, 3)
        random = np.random.default_rng(0)
        self._batches = [random.integers(0, 256, shape, dtype=np.uint8) for _ in range(4)]
        self.ways = [*self._bare, SEAM, DECODE, WHOLE]

    def measure(self, way: str) -> float:
        """Images per second."""
        if way in self._bare:
            return self._bare[way].measure(self._seconds)
        if way == SEAM:
            calls = images_per_second(self._classify, self._seconds, self.classifier.runners)
            return calls * self.classifier.max_batch
        if way == DECODE:
            return images_per_second(self._decode, self._seconds, cpu_count())
        return asyncio.run(self._whole())

    def _classify(self, number: int) -> object:
        return self.classifier(self._batches[number % len(self._batches)])

    def _decode(self, number: int) -> object:
        return to_pixels(self._data[number % len(self._data)], self._spec)

    async def _whole(self) -> float:
        at_once = max(4 * self.classifier.max_batch, 4 * cpu_count())
        scheduler = Scheduler(
            lambda _: self.classifier, lanes=self.classifier.runners, makers=cpu_count(), queue_limit=at_once
        )
        done, begun = 0, time.perf_counter()

        async def caller(place: int) -> None:
            nonlocal done
            while time.perf_counter() < begun + self._seconds:
                make = partial(to_pixels, self._data[place % len(self._data)], self._spec)
                with scheduler.reserve(1, Priority.BULK):
                    await scheduler.run_made(self._variant, make, Priority.BULK)
                done += 1

        await asyncio.gather(*(caller(place) for place in range(at_once)))
        rate = done / (time.perf_counter() - begun)
        await scheduler.close()
        return rate


def run(contest: Contest, rounds: int) -> dict[str, list[float]]:
    """Images per second of each way, a figure a round; one round before them does not count."""
    found: dict[str, list[float]] = {way: [] for way in contest.ways}
    for number in range(-1, rounds):
        for way in turns(contest.ways, number):
            rate = contest.measure(way)
            if number >= 0:
                found[way].append(rate)
    return found


def show(found: dict[str, list[float]], title: str, caption: str) -> Table:
    """A row a way, with its share of the first, which is bare in batches of the same size."""
    table = Table("", "images/s", "of bare", title=title, caption=caption)
    bare = next(iter(found.values()))
    for way, figures in found.items():
        table.add_row(way, spread(figures), spread([100 * share for share in ratios(figures, bare)], unit=" %"))
    return table


def chosen(name: str, precision: str) -> Artefact:
    """The model's fp32 artefact, to be cast; ends the program with the command that makes it where it is not there."""
    found = _fp32(name, for_cuda=True)
    return replace(found, card=replace(found.card, precision=precision))


def _fp32(name: str, *, for_cuda: bool = False) -> Artefact:
    models = ROOT / (os.environ.get("NINEFOLD_MODELS_DIR") or "models")
    found = ArtefactStore(models).get(Variant(name, "fp32"))
    if found is None or (for_cuda and PROGRAM_NAME not in found.card.files):
        what, option = (" for CUDA", " --device CUDA") if for_cuda else ("", "")
        sys.exit(f"bench: build {name}{what} first: ninefold models build {name}{option}")
    return found


def pictures() -> list[bytes]:
    """The samples as files of 120 KB each, where there are some; else the page's own."""
    if os.environ.get("NINEFOLD_SAMPLES"):
        return [photograph.data for photograph in alike()]
    return [path.read_bytes() for path in sorted((ROOT / "frontend" / "samples").glob("*.jpg"))]


def options() -> argparse.Namespace:
    """What was asked for; ends the program with 2 where the device is not there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("network", "decode"), default="network")
    parser.add_argument("--device", default="CUDA", help="CUDA, CUDA:1; cpu: a dry run")
    parser.add_argument("--models", nargs="+", default=MODELS)
    parser.add_argument("--precision", choices=("fp32", "fp16", "bf16"), help="default: fp16; of a dry run fp32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5, help="of each way in each round")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures say nothing")
    parser.add_argument("--png", type=Path, default=Path("build/bench/gpu.png"))
    given = parser.parse_args()
    if given.device != "cpu" and not is_cuda(given.device):
        parser.error("--device is CUDA, CUDA:1, …, or cpu")
    if given.device != "cpu" and (why := engines.why_not(given.device)):
        print(f"bench: this measurement needs a CUDA device: {why}", file=sys.stderr)
        sys.exit(2)
    return given


def main() -> None:
    """Prints what was asked for."""
    given = options()
    dry = given.device == "cpu"
    device = torch.device("cpu") if dry else torch_device(given.device)
    where = NO_GPU if dry else f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    if given.what == "decode":
        compare_decoders(device, where, given.quick)
    else:
        measure_networks(given, device, where)


def compare_decoders(device: torch.device, where: str, quick: bool) -> None:
    """Prints how far the device's pixels are from the processor's, on the samples."""
    from bench.gpu_decode import tables  # noqa: PLC0415  # torchvision takes seconds

    photographs = list(samples())[:: 16 if quick else 1]
    for table in tables(device, _fp32("efficientnet_lite0"), photographs, where):
        Console(width=130).print(table)


def measure_networks(given: argparse.Namespace, device: torch.device, where: str) -> None:
    """Prints a table a model, draws one picture of all."""
    precision = given.precision or ("fp32" if device.type == "cpu" else "fp16")
    rounds, seconds = (1, 0.3) if given.quick else (given.rounds, given.seconds)
    data = pictures()
    weight = sum(map(len, data)) / len(data) / 1000
    drawn: dict[str, list[float]] = {}
    for name in given.models:
        contest = Contest(chosen(name, precision), device, data, seconds)
        found = run(contest, rounds)
        sizes = ", ".join(map(str, contest.classifier.sizes))
        title = f"{name} in {precision}, batches of {sizes}; {len(data)} photographs of {weight:.0f} KB\n{where}"
        Console(width=130).print(show(found, title, ran_on()))
        drawn |= {f"{name}: {way}": figures for way, figures in found.items()}
    bars(given.png, where, "images per second", drawn)


if __name__ == "__main__":
    main()
