"""The words of NINEFOLD_DEVICE: an OpenVINO device ("CPU", "GPU", "HETERO:GPU,CPU"), or "CUDA" and "CUDA:1" for torch.

What a device asks of an artefact is here, without either engine, because the choice of a variant depends on it.
"""

from __future__ import annotations

PROGRAM_NAME = "network.pt2"
"""The network as torch runs it: exported, without the classes it was made of; float[N,3,H,W] normalised → logits."""


def is_cuda(device: str) -> bool:
    """Whether torch computes there, and not OpenVINO."""
    return device.partition(":")[0] == "CUDA"


def faster_precision(device: str) -> str:
    """The precision that answers in place of fp32 on this device, once it is made and where its gate holds."""
    return "fp16" if is_cuda(device) else "int8"
