"""Which engine computes on which device, and whether this machine has the device: the one door to both engines.

OpenVINO computes on CPUs, Intel's GPUs and NPUs; torch on CUDA devices, and is imported for those alone. So it is
with the filter that frames may go through before: OpenCV's, and on CUDA devices our own; and with what decodes them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

from contract.transform import Admit, ImageLimits, Pixels, TransformSpec, to_pixels
from inference import openvino_classifier
from inference.artefacts import Artefact
from inference.classifier import Classifier
from inference.devices import cpu_count, is_cuda
from inference.filters import Filter, FilterSpec, GuidedFilter
from inference.openvino_classifier import OpenVinoClassifier, why_no_device

_LANES_ON_CUDA = 2
"""One batch is copied while another is computed. More would make the batches smaller."""

Decode = Callable[[bytes, TransformSpec, ImageLimits, Admit], Pixels]
"""What `to_pixels` is: an image's bytes to uint8[crop,crop,3]. Raises BadImage."""


class NoDecoder(Exception):
    """Pictures cannot be decoded on the device that was named; the message says why."""


def load(artefact: Artefact, *, threads: int | None = None, device: str = "CPU") -> Classifier:
    """The artefact on a device, for `threads` calls at once (default: what `lanes` says).

    Raises DamagedArtefact; ModelMissing where the device cannot compute it.
    """
    threads = threads or lanes(device)
    if not is_cuda(device):
        return OpenVinoClassifier(artefact, threads, device)
    from inference.torch_runners import load_on_torch, torch_device  # noqa: PLC0415  # seconds, and not on every machine

    return load_on_torch(artefact, torch_device(device), threads)


def load_filter(spec: FilterSpec | None = None, *, device: str = "CPU") -> Filter:
    """The guided filter: on a CUDA device by our kernel, beside any other on the CPU. Raises NoFilter."""
    if not is_cuda(device):
        return GuidedFilter(spec)
    from inference.filters_cuda import CudaGuidedFilter  # noqa: PLC0415
    from inference.torch_runners import torch_device  # noqa: PLC0415

    return CudaGuidedFilter(torch_device(device), spec)


def load_decoder(*, device: str = "CPU") -> Decode:
    """What makes pixels of bytes: `to_pixels`; on a CUDA device, for whoever asks for it, the device's own decoder.

    That one answers with nearly the same pixels (docs/live-measured.md), never for batches. Raises NoDecoder.
    """
    if not is_cuda(device):
        return to_pixels
    if find_spec("torchvision") is None:
        raise NoDecoder(f"decoding on {device} needs torchvision, which is not installed")
    from inference.decode_cuda import DeviceDecoder  # noqa: PLC0415
    from inference.torch_runners import torch_device  # noqa: PLC0415

    return DeviceDecoder(torch_device(device))


def lanes(device: str) -> int:
    """How many threads keep the device at work: on a CPU they do all of it, beside an accelerator they wait for it."""
    if is_cuda(device):
        return _LANES_ON_CUDA
    return cpu_count() if device == "CPU" else 2 * cpu_count()


@cache
def has_bf16(device: str) -> bool:
    """Whether bf16 can be made and computed here: on CUDA by the device, else by the processor, which makes it."""
    if not is_cuda(device):
        return openvino_classifier.has_bf16()
    from inference.torch_runners import computes_bf16, torch_device  # noqa: PLC0415

    return computes_bf16(torch_device(device))


def why_not(device: str) -> str | None:
    """Why nothing can be computed on the device here, in words; None: it can."""
    if not is_cuda(device):
        return why_no_device(device)
    if find_spec("torch") is None:
        return "CUDA needs torch, which is not installed: requirements/backend-gpu.txt names it"
    from inference.torch_runners import NoDevice, torch_device  # noqa: PLC0415

    try:
        torch_device(device)
    except NoDevice as error:
        return str(error)
    return None
