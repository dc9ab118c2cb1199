"""torch → OpenVINO IR: uint8 NHWC in, float32 logits out, weights untouched in float32.

For any number of images; a detector's network counts its own and takes one (`batched=False`).
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path

import openvino as ov
import torch

from inference.ir import MODEL_NAME
from inference.torch_classifier import Normalised
from modelzoo.save import save_ir


def exported(network: torch.nn.Module, side: int, *, batched: bool = True) -> torch.export.ExportedProgram:
    """The network as torch.export sees it: uint8[N,side,side,3] → float32[N,…], for any N or for one."""
    # Two images: torch.export takes a batch of one for a constant.
    example = torch.zeros(2 if batched else 1, side, side, 3, dtype=torch.uint8)
    shapes = ({0: torch.export.Dim("batch")},) if batched else None
    logging.getLogger("torch").setLevel(logging.ERROR)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        return torch.export.export(network, (example,), dynamic_shapes=shapes)


def write_ir(network: Normalised, side: int, folder: Path, *, batched: bool = True) -> None:
    """Exports the network and writes model.xml and model.bin into `folder`."""
    program = exported(network, side, batched=batched)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        converted = ov.convert_model(program)
    converted.reshape([-1 if batched else 1, side, side, 3])
    save_ir(converted, folder / MODEL_NAME)
