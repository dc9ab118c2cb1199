"""The words of NINEFOLD_DEVICE: an OpenVINO device ("CPU", "GPU", "HETERO:GPU,CPU"), or "CUDA" and "CUDA:1" for torch.

What a device asks of an artefact is here, without either engine, because the choice of a variant depends on it; and
how many processors there are, which is asked before any engine is loaded.
"""

from __future__ import annotations

import os
import re

MODEL_NAME = "model.xml"
"""The network as OpenVINO reads it; its weights lie beside it."""

PROGRAM_NAME = "network.pt2"
"""The network as torch runs it: exported, without the classes it was made of; float[N,3,H,W] normalised → logits."""


def is_cuda(device: str) -> bool:
    """Whether torch computes there, and not OpenVINO."""
    return device.partition(":")[0] == "CUDA"


def is_a_name(device: str) -> bool:
    """Whether a device may be called so, here or on another machine."""
    return re.fullmatch(r"(CPU|GPU|NPU)(\.\d+)*|CUDA(:\d+)?|(AUTO|BATCH|HETERO|MULTI)(:.+)?", device) is not None


def has_float32(device: str) -> bool:
    """False where an NPU computes, or may have to: it knows fp16 and int8 alone."""
    return not any(name.strip().startswith("NPU") for name in re.split("[:,]", device))


def file_for(device: str) -> str:
    """The file that an artefact must have to be read for this device."""
    return PROGRAM_NAME if is_cuda(device) else MODEL_NAME


def computes(device: str, precision: str) -> bool:
    """Whether this kind of device computes in the precision, whatever is built."""
    if is_cuda(device):
        return precision in ("fp32", "bf16", "fp16")
    return has_float32(device) or precision in ("fp16", "int8")


def faster_precision(device: str) -> str:
    """The precision that answers in place of fp32 on this device, once it is made and where its gate holds."""
    return "fp16" if is_cuda(device) else "int8"


def cpu_count() -> int:
    """The processors this process may run on. A container's CPU quota is not seen here: set NINEFOLD_THREADS there."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
