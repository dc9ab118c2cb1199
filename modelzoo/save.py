"""Writing OpenVINO IR, with a full disk told as what it is."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import openvino as ov


def save_ir(network: ov.Model, path: Path, *, fp16: bool = False) -> None:
    """Writes `path` and the .bin beside it, weights in the types they have or in float16. Raises OSError."""
    try:
        ov.save_model(network, path, compress_to_fp16=fp16)
    except RuntimeError as error:  # OpenVINO's word for every failure to write is "iostream error"
        needed = sum(node.get_byte_size() for node in network.get_ops() if node.get_type_name() == "Constant")
        number = errno.ENOSPC if shutil.disk_usage(path.parent).free < needed else errno.EIO
        raise OSError(number, os.strerror(number), str(path.parent)) from error
