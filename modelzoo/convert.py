"""torch → OpenVINO IR: uint8 NHWC in, float32 logits out, any batch size, weights untouched in float32."""

from __future__ import annotations

import errno
import logging
import os
import shutil
import warnings
from pathlib import Path

import openvino as ov
import torch

from inference.openvino_classifier import MODEL_NAME
from inference.torch_classifier import Normalised


def write_ir(network: Normalised, side: int, folder: Path) -> None:
    """Exports the network and writes model.xml and model.bin into `folder`."""
    # Two images: torch.export takes a batch of one for a constant.
    example = torch.zeros(2, side, side, 3, dtype=torch.uint8)
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        exported = torch.export.export(network, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        converted = ov.convert_model(exported)
    converted.reshape([-1, side, side, 3])
    try:
        ov.save_model(converted, folder / MODEL_NAME, compress_to_fp16=False)
    except RuntimeError as error:  # OpenVINO's word for every failure to write is "iostream error"
        needed = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
        number = errno.ENOSPC if shutil.disk_usage(folder).free < needed else errno.EIO
        raise OSError(number, os.strerror(number), str(folder)) from error
