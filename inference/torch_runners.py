"""An artefact's torch program on a CUDA device: CUDA graphs, half precision, channels last. On a CPU it runs as it is.

    pinned uint8 --copy--> device uint8 --graph: normalise, network--> device float32 --copy--> pinned float32

A graph is a recorded sequence of kernels, started by one call: without it a network of a few milliseconds would spend
most of them being launched. It holds for one batch size and for fixed memory, so every runner has its own.
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch.export.passes import move_to_device_pass

from contract.transform import Pixels, TransformSpec
from inference.artefacts import Artefact
from inference.batch_sizes import MOST
from inference.batched_classifier import BatchedClassifier, Runner
from inference.card import Card
from inference.choice import ModelMissing, adds
from inference.classifier import DeviceLost, Logits
from inference.devices import PROGRAM_NAME

_WARM_UPS = 3
_MOST_FRAMES = 16
"""What a detector is staged for, whose frames are eight times an image: a frame each of so many cameras."""
TYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
_one_loads = threading.Lock()
"""One capture at a time is what CUDA takes, and the memory is measured before and after."""


class NoDevice(Exception):
    """This machine has not the device that was named; the message says what it lacks."""


def torch_device(device: str) -> torch.device:
    """Torch's own name for "CUDA" or "CUDA:1". Raises NoDevice."""
    if torch.version.cuda is None:
        raise NoDevice("this torch was built without CUDA: requirements/backend-gpu.txt names the one to install")
    if not torch.cuda.is_available():
        raise NoDevice("torch finds no CUDA device here: is the driver there, and was the container given the device?")
    number, count = device.partition(":")[2] or "0", torch.cuda.device_count()
    if not number.isdecimal() or int(number) >= count:
        raise NoDevice(f"there is no {device} here; there is CUDA:0" + (f" to CUDA:{count - 1}" if count > 1 else ""))
    return torch.device("cuda", int(number))


class Network(torch.nn.Module):
    """A program with its normalisation in front: uint8[N,H,W,3] → float32[N,…], computed in `dtype`."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, program: torch.nn.Module, spec: TransformSpec, dtype: torch.dtype) -> None:
        super().__init__()
        self.program = program.to(dtype).to(memory_format=torch.channels_last)
        std = torch.tensor(spec.std).view(1, 3, 1, 1)
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -torch.tensor(spec.mean).view(1, 3, 1, 1) / std)
        self._dtype = dtype

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Pixels to logits, or to boxes; normalised in float32 and rounded once."""
        scaled = torch.addcmul(self.shift, pixels.permute(0, 3, 1, 2).float(), self.scale)
        logits: torch.Tensor = self.program(scaled.to(self._dtype, memory_format=torch.channels_last))
        return logits.float()


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 in hardware; a CPU, which only plays one, may."""
    return device.type != "cuda" or torch.cuda.get_device_capability(device) >= (8, 0)


def load_program(artefact: Artefact, device: torch.device) -> torch.fx.GraphModule:
    """The exported network on a device, in float32. Raises ModelMissing where the artefact has none."""
    if PROGRAM_NAME not in artefact.card.files:
        command = adds(artefact.card.precision, artefact.card.model, "CUDA")
        raise ModelMissing(
            f"{artefact.variant} was made without a program for torch. The command `ninefold models {command}` adds it."
        )
    program = torch.export.load(artefact.folder / PROGRAM_NAME)
    return move_to_device_pass(program, device).module()


def load_on_torch(
    artefact: Artefact, device: torch.device, runners: int, sizes: tuple[int, ...] | None = None
) -> BatchedClassifier:
    """The artefact as a classifier. Raises ModelMissing or DamagedArtefact; MemoryError where nothing fits."""
    artefact.verify()
    precision = artefact.card.precision
    if precision not in TYPES:
        raise ModelMissing(f"{artefact.variant} is not for CUDA, which computes {', '.join(TYPES)}.")
    if precision == "bf16" and not computes_bf16(device):
        raise ModelMissing(f"{artefact.variant} needs a GPU that computes bf16 in hardware; this one does not.")
    with _one_loads:
        before = _reserved(device)
        network = Network(load_program(artefact, device), artefact.card.transform, TYPES[precision])
        return classifier_of(network.to(device), artefact, device, runners, sizes, before)


def classifier_of(
    network: torch.nn.Module,
    artefact: Artefact,
    device: torch.device,
    runners: int,
    sizes: tuple[int, ...] | None = None,
    before: int = 0,
) -> BatchedClassifier:
    """Any network of the artefact's shape as a classifier. `before`: the memory that was taken without it, in bytes."""
    card = artefact.card
    images = (most_images(card), card.transform.crop, card.transform.crop, 3)
    made = [_runner(network, device, images, card.answer_shape) for _ in range(runners)]
    on_host = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    on_host += sum(runner.staged.nbytes for runner in made)
    return BatchedClassifier(
        made, card.answer_shape, lambda: _reserved(device) - before if device.type == "cuda" else on_host, sizes
    )


def most_images(card: Card) -> int:
    """How many images a call may have at the most, whatever pays."""
    return _MOST_FRAMES if card.boxes else MOST


def _reserved(device: torch.device) -> int:
    """What is taken of a CUDA device's memory, without what classifiers that were let go have left behind."""
    if device.type != "cuda":
        return 0
    torch.cuda.empty_cache()
    return torch.cuda.memory_reserved(device)


def _runner(network: torch.nn.Module, device: torch.device, images: tuple[int, ...], answer: tuple[int, ...]) -> Runner:
    """`images`: the shape of what is staged; `answer`: that of one image's."""
    if device.type != "cuda":
        return EagerRunner(network, images)
    _compute_exactly()
    return CapturedRunner(network, device, images, answer)


def _compute_exactly() -> None:
    """fp32 is float32, not TF32; the quickest algorithm for each shape is looked for, since there are few shapes."""
    torch.backends.cuda.matmul.fp32_precision = "ieee"
    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]  # torch makes it at run time
    torch.backends.cudnn.benchmark = True


class EagerRunner:
    """Runs the network as it is, on a CPU; every size is ready."""

    def __init__(self, network: torch.nn.Module, images: tuple[int, ...]) -> None:
        self._network = network
        self.staged: Pixels = np.zeros(images, dtype=np.uint8)
        self._pixels = torch.from_numpy(self.staged)

    def prepare(self, size: int) -> None:
        """Nothing is to be done."""

    def drop(self, size: int) -> None:
        """Nothing was taken."""

    def run(self, size: int) -> Logits:
        """float32[size,…] of the first `size` images that are staged."""
        with torch.inference_mode():
            return np.asarray(self._network(self._pixels[:size]).numpy())


class CapturedRunner:
    """One stream of a CUDA device with a graph for each size that was prepared."""

    def __init__(
        self, network: torch.nn.Module, device: torch.device, images: tuple[int, ...], answer: tuple[int, ...]
    ) -> None:
        self._network, self._device = network, device
        with torch.cuda.device(device):
            self._from, self._to = host_memory(*images, dtype=torch.uint8), host_memory(images[0], *answer)
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            # A thread that waits leaves its processor to those that decode.
            self._done = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()
        self.staged: Pixels = self._from.numpy()
        self._logits: Logits = self._to.numpy()
        self._pixels = torch.zeros(self._from.shape, dtype=torch.uint8, device=device)
        self._answers = torch.zeros(self._to.shape, device=device)
        self._graphs: dict[int, torch.cuda.CUDAGraph] = {}

    def prepare(self, size: int) -> None:
        """Captures the graph of this size. Raises MemoryError where the device has no room."""
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.device(self._device), torch.inference_mode():
                self._stream.wait_stream(torch.cuda.current_stream())
                with torch.cuda.stream(self._stream):
                    for _ in range(_WARM_UPS):
                        self._compute(size)
                self._stream.synchronize()
                # Other lanes may be at work meanwhile: what they ask of CUDA is not this capture's.
                with torch.cuda.graph(graph, self._pool, self._stream, capture_error_mode="thread_local"):
                    self._compute(size)
        except RuntimeError as error:
            if not _for_want_of_memory(error):
                raise
            torch.cuda.empty_cache()
            raise MemoryError(f"{self._device} has no room for {size} images at once") from error
        self._graphs[size] = graph

    def drop(self, size: int) -> None:
        """Forgets the graph of this size."""
        self._graphs.pop(size).reset()

    def run(self, size: int) -> Logits:
        """float32[size,…] of the first `size` images that are staged; the next call writes over it.

        Raises DeviceLost: after an error of its own CUDA refuses a process everything.
        """
        try:
            with torch.inference_mode(), torch.cuda.stream(self._stream):
                self._pixels[:size].copy_(self._from[:size], non_blocking=True)
                self._graphs[size].replay()
                self._to[:size].copy_(self._answers[:size], non_blocking=True)
                self._done.record(self._stream)
            self._done.synchronize()
        except RuntimeError as error:
            if _for_want_of_memory(error):
                raise
            raise DeviceLost(f"{self._device} is lost to this process: {error}") from error
        return self._logits[:size]

    def _compute(self, size: int) -> None:
        self._answers[:size].copy_(self._network(self._pixels[:size]))


def _for_want_of_memory(error: BaseException) -> bool:
    """A capture that ends without memory may end in another error, which has the cause behind it."""
    return isinstance(error, torch.OutOfMemoryError) or isinstance(error.__context__, torch.OutOfMemoryError)


def host_memory(*shape: int, **options: Any) -> torch.Tensor:
    """Zeros in memory that a device copies from by itself, beside the processor; in ordinary memory where none is."""
    try:
        return torch.zeros(*shape, pin_memory=True, **options)
    except RuntimeError:
        return torch.zeros(*shape, **options)
