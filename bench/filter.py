"""How long the guided filter takes: on the CPU beside the plain formula and a copy, on a CUDA device above its floor.

    python -m bench.filter                                                 the CPU, then CUDA where it is there
    TRITON_INTERPRET=1 python -m bench.filter --device cpu --quick         does it run? Its figures are none of a GPU

The ways take turns in each round. The kernel's floor is what reading and writing each pixel once costs: a copy of the
same frames by the device, in the same run. Both go through frames of 256 MB, which no cache holds, as a CUDA graph, so
that nothing is counted but the device's own time. *From host to host* is all of it for one frame: to the device and
back, through pinned memory.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.denoise import OURS, guides
from bench.gpu import NO_GPU, captured
from bench.table import ran_on, ratios, spread, turns
from contract.transform import Pixels
from inference import engines
from inference.filters import FilterSpec, reference
from inference.torch_runners import torch_device

COPY, FORMULA = "a copy", "the formula in numpy, float64"
KERNEL, DEVICE_COPY, WHOLE = "the kernel", "a copy by the device", "from host to host"
SIZES = ((480, 640), (1080, 1920), (2160, 3840))
_BYTES, _MOST_FRAMES, _AT_ONCE = 2**28, 256, 10
Work = Callable[[], object]
Times = dict[str, list[float]]


def noise(height: int, width: int) -> Pixels:
    """A frame; speed does not depend on the numbers."""
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def milliseconds(work: Work, seconds: float) -> float:
    """Of one call, after one that does not count."""
    work()
    calls, begun = 0, time.perf_counter()
    while (passed := time.perf_counter() - begun) < seconds or not calls:
        work()
        calls += 1
    return 1000 * passed / calls


def measure(ways: Mapping[str, Callable[[], float]], rounds: int) -> Times:
    """Milliseconds of each way, a figure a round; one round before them does not count."""
    found: Times = {way: [] for way in ways}
    for number in range(-1, rounds):
        for way in turns(list(ways), number):
            taken = ways[way]()
            if number >= 0:
                found[way].append(taken)
    return found


def on_cpu(rounds: int, seconds: float) -> Table:
    """A row a way, each on one thread."""
    frame, other = noise(480, 640), noise(480, 640)
    works: dict[str, Work] = {COPY: lambda: np.copyto(other, frame), FORMULA: lambda: reference(frame, FilterSpec())}
    works |= {way: lambda denoise=denoise: denoise(frame) for way, denoise in guides(FilterSpec()).items()}
    found = measure({way: lambda work=work: milliseconds(work, seconds) for way, work in works.items()}, rounds)
    table = Table("one thread, 640×480", "ms", "times a copy", "times ours", caption=ran_on())
    for way, figures in found.items():
        to_ours = spread(ratios(figures, found[OURS]), 2)
        table.add_row(way, spread(figures, 2), spread(ratios(figures, found[COPY])), to_ours)
    return table


class Ring:
    """Frames of one size on a device, so many that no cache holds them."""

    def __init__(self, height: int, width: int, device: torch.device, seconds: float) -> None:
        from inference.filters_cuda import CudaGuidedFilter, guided  # noqa: PLC0415  # Triton is for Linux alone

        self._cuda, self._seconds, self.frame = device.type == "cuda", seconds, noise(height, width)
        self.count = min(max(_BYTES // self.frame.nbytes, 2), _MOST_FRAMES) if self._cuda else 2
        source = torch.from_numpy(self.frame).to(device).repeat(self.count, 1, 1, 1, 1)
        target = torch.empty_like(source)
        self._whole, spec = CudaGuidedFilter(device), FilterSpec()

        def copy() -> None:
            for one, other in zip(source, target, strict=True):
                other.copy_(one)

        def kernel() -> None:
            for one, other in zip(source, target, strict=True):
                guided(one, spec, other)

        self._starts = {
            way: captured(work, device) if self._cuda else work for way, work in ((DEVICE_COPY, copy), (KERNEL, kernel))
        }
        self.ways = {way: lambda way=way: self._on_device(way) for way in self._starts} | {WHOLE: self._from_host}

    def off(self) -> float:
        """The largest difference from the reference, in levels; half a level is rounding."""
        return float(np.abs(self._whole(self.frame) - reference(self.frame, FilterSpec())).max())

    def _on_device(self, way: str) -> float:
        times = _AT_ONCE if self._cuda else 1

        def work() -> None:
            for _ in range(times):
                self._starts[way]()
            if self._cuda:
                torch.cuda.synchronize()

        return milliseconds(work, self._seconds) / times / self.count

    def _from_host(self) -> float:
        return milliseconds(lambda: self._whole(self.frame), self._seconds)


def on_device(device: torch.device, rounds: int, seconds: float) -> Table:
    """A row a size."""
    dry = device.type == "cpu"
    title = NO_GPU if dry else f"{torch.cuda.get_device_name(device)}, torch {torch.__version__}"
    heads = ("kernel, µs", "copy, µs", "kernel: times a copy", "GB/s", "from host to host, ms", "off, levels")
    table = Table("frame", *heads, title=title, caption=ran_on())
    for height, width in [(30, 40)] if dry else SIZES:
        ring = Ring(height, width, device, seconds)
        found = measure(ring.ways, rounds)
        micros = {way: [1000 * figure for figure in figures] for way, figures in found.items()}
        moved = [2 * ring.frame.nbytes / 1000 / figure for figure in micros[KERNEL]]
        table.add_row(
            f"{width}×{height}",
            spread(micros[KERNEL], 1),
            spread(micros[DEVICE_COPY], 1),
            spread(ratios(found[KERNEL], found[DEVICE_COPY])),
            spread(moved),
            spread(found[WHOLE], 2),
            f"{ring.off():.3f}",
        )
    return table


def options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="CUDA", help="CUDA, CUDA:1; cpu: a dry run of its part")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1, help="of each way in each round")
    parser.add_argument("--quick", action="store_true", help="a smoke run: its figures say nothing")
    return parser.parse_args()


def main() -> None:
    """Prints a table of the CPU, then one of the device, or why there is none."""
    given = options()
    rounds, seconds = (1, 0.05) if given.quick else (given.rounds, given.seconds)
    console = Console(width=130)
    console.print(on_cpu(rounds, seconds))
    dry = given.device == "cpu"
    if not dry and (why := engines.why_not(given.device)):
        print(f"bench: the kernel was not measured, which needs a CUDA device: {why}", file=sys.stderr)
        return
    console.print(on_device(torch.device("cpu") if dry else torch_device(given.device), rounds, seconds))


if __name__ == "__main__":
    main()
