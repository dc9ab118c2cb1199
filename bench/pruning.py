"""What the pruning's two choices were made by: which weights become zero, and how the rest is stored.

    python -m bench.pruning

The labelled photographs are asked of efficientnet_lite0 in torch with so many of its weights zero and nothing
fine-tuned. Then the weights of the last row and column are packed in several ways; seconds are of one thread.
"""

from __future__ import annotations

import lzma
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import nncf
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from bench.photographs import samples
from contract.transform import to_pixels
from inference.catalogue import BY_NAME
from inference.ir import FILTERS
from inference.torch_classifier import Normalised
from modelzoo.networks import build_network
from modelzoo.weights import obtain

MODEL = BY_NAME["efficientnet_lite0"]
SHARES = (0.3, 0.5)
Prune = Callable[[Normalised, float], Normalised]


def by_nncf(mode: nncf.PruneMode) -> Prune:
    """Masks of NNCF's."""
    example = torch.zeros(1, MODEL.transform.crop, MODEL.transform.crop, 3, dtype=torch.uint8)
    return lambda network, share: nncf.prune(network, mode=mode, ratio=share, examples_inputs=example)


def by_plain_magnitude(network: Normalised, share: float) -> Normalised:
    """The smallest of all layers' weights at once, as they are."""
    weights = _weights(network)
    every = torch.cat([weight.detach().abs().flatten() for weight in weights])
    least = every.kthvalue(int(share * len(every))).values
    with torch.no_grad():
        for weight in weights:
            weight.mul_(weight.abs() > least)
    return network


WAYS: dict[str, Prune] = {
    "NNCF, all layers at once, magnitude over the layer's norm": by_nncf(nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_GLOBAL),
    "NNCF, the same share of each layer": by_nncf(nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_LOCAL),
    "all layers at once, magnitude as it is": by_plain_magnitude,
}


def _weights(network: torch.nn.Module) -> list[torch.nn.Parameter]:
    layers = (torch.nn.Conv2d, torch.nn.Linear)
    return [module.weight for module in network.modules() if isinstance(module, layers)]


def fresh() -> Normalised:
    """The dense network."""
    return build_network(MODEL, obtain(MODEL, None, Path("models/.downloads")))


def right(network: Normalised, pixels: torch.Tensor, truth: torch.Tensor) -> int:
    """How many of the photographs it names."""
    with torch.inference_mode():
        answers = torch.cat([network(part).argmax(1) for part in pixels.split(32)])
    return int((answers == truth).sum())


def packed(data: bytes) -> dict[str, tuple[int, float, float]]:
    """Each way of storing the bytes: their number, and the seconds that packing and unpacking take."""
    ways: dict[str, tuple[Callable[[], bytes], Callable[[bytes], bytes]]] = {
        "deflate": (lambda: zlib.compress(data, 6), zlib.decompress),
        "xz, its default": (lambda: lzma.compress(data, preset=6), lzma.decompress),
        "xz, told of four-byte numbers (taken)": (lambda: lzma.compress(data, filters=FILTERS), lzma.decompress),
    }
    found = {}
    for name, (pack, unpack) in ways.items():
        begun = time.process_time()
        small = pack()
        between = time.process_time()
        unpack(small)
        found[name] = len(small), between - begun, time.process_time() - between
    return found


def main() -> None:
    """Prints both tables."""
    nncf.set_log_level(30)
    photographs = list(samples())
    pixels = torch.from_numpy(np.stack([to_pixels(each.data, MODEL.transform) for each in photographs]))
    truth = torch.tensor([each.index for each in photographs])
    title = f"right of {len(photographs)}; dense: {right(fresh(), pixels, truth)}"
    table = Table("chosen by", *(f"{share:.0%} zeros" for share in SHARES), box=None, pad_edge=False, title=title)
    for name, prune in WAYS.items():
        table.add_row(name, *(str(right(prune(fresh(), share), pixels, truth)) for share in SHARES))
    data = b"".join(weight.detach().numpy().tobytes() for weight in _weights(by_plain_magnitude(fresh(), SHARES[-1])))
    stored = Table(
        "stored by", "MB", "share", "to pack", "to unpack", box=None, pad_edge=False, title=f"{len(data) / 1e6:.2f} MB"
    )
    for name, (size, packing, unpacking) in packed(data).items():
        sizes = f"{size / 1e6:.2f}", f"{size / len(data):.0%}"
        stored.add_row(name, *sizes, f"{packing:.1f} s", f"{unpacking:.2f} s")
    out = Console()
    out.print(table)
    out.print(stored)


if __name__ == "__main__":
    main()
