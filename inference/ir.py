"""A network's files, model.xml and its weights, read in either form: as OpenVINO writes them, or compressed.

OpenVINO stores a zero like any other number. Where half of the weights are zeros, xz finds them:

    model.xml + model.bin       read by OpenVINO itself
    model.xml + model.bin.xz    unpacked in memory first
"""

from __future__ import annotations

import lzma
from pathlib import Path

import openvino as ov

from inference import devices

MODEL_NAME, WEIGHTS_NAME, COMPRESSED_NAME = devices.MODEL_NAME, "model.bin", "model.bin.xz"

FILTERS = [{"id": lzma.FILTER_LZMA2, "preset": 1, "lc": 0, "lp": 2, "pb": 2}]
"""xz's second fastest level, told that numbers are four bytes long (`python -m bench.pruning` compares)."""


def read_network(core: ov.Core, folder: Path) -> ov.Model:
    """The network in `folder`. Raises OSError, RuntimeError (OpenVINO's) or LZMAError on files that are none."""
    compressed = folder / COMPRESSED_NAME
    if not compressed.is_file():
        return core.read_model(folder / MODEL_NAME)
    return core.read_model((folder / MODEL_NAME).read_bytes(), lzma.decompress(compressed.read_bytes()))


def compress_weights(folder: Path) -> int:
    """Puts model.bin.xz in the place of model.bin; returns how many bytes the weights are. Raises OSError."""
    plain = folder / WEIGHTS_NAME
    weights = plain.read_bytes()
    (folder / COMPRESSED_NAME).write_bytes(lzma.compress(weights, filters=FILTERS))
    plain.unlink()
    return len(weights)
