"""Gradual magnitude pruning of a torch network while it is fine-tuned, towards labels, the dense network, or both.

    dense network ── masks (NNCF) ──> student;  each step: batch -> loss -> Adam;  now and then: more zeros by the cubic

NNCF has the masks, chooses among all layers at once by magnitude over each layer's norm, and steps through a table of
sparsities; the table is Zhu and Gupta's (https://arxiv.org/abs/1710.01878). BatchNorm keeps the statistics
that it has: taking those of a few pictures in their place was not measured to be better (ADR 26).
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import time
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from contract.transform import TransformSpec
from inference.pruning import Layer
from inference.torch_classifier import Normalised
from modelzoo.material import Batches, Material, Pictures

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    logging.getLogger("torch").setLevel(logging.ERROR)
    import nncf
    from nncf.torch.function_hook.pruning.magnitude.algo import get_pruned_modules
    from nncf.torch.function_hook.pruning.magnitude.schedulers import MultiStepMagnitudePruningScheduler

nncf.set_log_level(logging.ERROR)

UPDATES = 20
"""How often zeros are added."""

RAMP = 0.6
"""The share of the steps in which they are; afterwards the network only gets used to them."""

CHECKPOINT_SECONDS = 60
_MODE = nncf.PruneMode.UNSTRUCTURED_MAGNITUDE_GLOBAL
_HOOKS = "__nncf_hooks"


class Stopped(Exception):
    """The run was asked to stop, and did, after it had kept what it has; the message says how far it is."""


@dataclass(frozen=True)
class Settings:
    """How to prune. `sparsity`: zeros among all weights of convolutions and linear layers at the end.

    `distillation`: the share of the loss that is the dense network's answer rather than the label (1 without labels).
    """

    sparsity: float = 0.5
    steps: int = 300
    batch: int = 16
    learning_rate: float = 5e-5
    distillation: float = 0.5
    seed: int = 0


@dataclass(frozen=True)
class Progress:
    """After `step` steps: the loss of the last, and the zeros among the prunable weights."""

    step: int
    loss: float
    sparsity: float


def sparsities(settings: Settings) -> dict[int, float]:
    """The share of zeros from each step on that it changes at: s·(1 − (1 − t)³), steepest at the start."""
    every = max(round(settings.steps * RAMP / UPDATES), 1)
    last = max(round(settings.steps * RAMP) // every, 1)
    table = {0: 0.0} if settings.steps > 1 else {}
    return table | {
        min(number * every, settings.steps - 1): settings.sparsity * (1 - (1 - number / last) ** 3)
        for number in range(1, last + 1)
    }


class FineTuning:
    """A run: the student, its optimiser, and how far it is."""

    def __init__(self, dense: Normalised, student: Normalised, spec: TransformSpec, settings: Settings) -> None:
        self.settings, self.step = settings, 0
        example = torch.zeros(1, spec.crop, spec.crop, 3, dtype=torch.uint8)
        self._dense = dense.eval()
        self._student = nncf.prune(student.eval(), mode=_MODE, ratio=0.0, examples_inputs=example)
        self._optimiser = torch.optim.Adam(self._student.parameters(), lr=settings.learning_rate)
        self._table = sparsities(settings)
        self._scheduler = MultiStepMagnitudePruningScheduler(self._student, mode=_MODE, steps=self._table)

    def run(
        self, material: Material, spec: TransformSpec, kept: Checkpoint, report: Callable[[Progress], None],
        stop: Callable[[], bool] = lambda: False,
    ) -> None:  # fmt: skip
        """Goes on from where it is to the last step. Raises Stopped, NoPhotographs, OSError."""
        batches = Batches(material.train, spec, self.settings.batch, self.settings.seed)
        saved, sparsity = time.monotonic(), self.sparsity
        for pixels, classes in batches.between(self.step, self.settings.steps):
            if self.step in self._table:
                self._scheduler.step(self.step)
                sparsity = self.sparsity
            loss = self._learn(torch.from_numpy(pixels), torch.from_numpy(classes))
            self.step += 1
            report(Progress(self.step, loss, sparsity))
            if stop():
                kept.save(self)
                raise Stopped(f"stopped after {self.step} of {self.settings.steps} steps")
            if time.monotonic() - saved > CHECKPOINT_SECONDS:
                kept.save(self)
                saved = time.monotonic()
        kept.save(self)

    def _learn(self, pixels: torch.Tensor, classes: torch.Tensor) -> float:
        """One step down the loss: cross-entropy to the labels and to the dense network's answer, in their shares."""
        for group in self._optimiser.param_groups:
            group["lr"] = self.settings.learning_rate * (1 - self.step / self.settings.steps)
        logits, share = self._student(pixels), self.settings.distillation if len(classes) else 1.0
        loss = torch.zeros(())
        if share > 0:
            with torch.no_grad():
                taught = self._dense(pixels).softmax(dim=1)
            loss = loss + share * functional.kl_div(logits.log_softmax(dim=1), taught, reduction="batchmean")
        if share < 1:
            loss = loss + (1 - share) * functional.cross_entropy(logits, classes)
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        return float(loss.detach())

    @property
    def sparsity(self) -> float:
        """Zeros among the prunable weights now."""
        return float(nncf.pruning_statistic(self._student).pruning_ratio)

    def weights(self) -> dict[str, torch.Tensor]:
        """The student's state with its zeros in place, for a network without masks."""
        state = self._student.state_dict()  # nncf.strip would do the same, and needs torchao
        for name, mask in get_pruned_modules(self._student).items():
            state[name] = state[name] * mask.binary_mask
        return {name: value for name, value in state.items() if not name.startswith(_HOOKS)}

    def state(self) -> dict[str, Any]:
        """All that a run needs to go on."""
        return {
            "step": self.step,
            "student": self._student.state_dict(),
            "optimiser": self._optimiser.state_dict(),
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Takes up what `state` gave."""
        self._student.load_state_dict(state["student"])
        self._optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


def digest_of(weights: str, settings: Settings, *parts: Pictures) -> str:
    """Names a run: its weights, its settings, its pictures with their classes, sizes and times of change."""
    digest = hashlib.sha256(repr((weights, settings)).encode())
    for part in parts:
        digest.update(repr((part.classes, [(str(path.absolute()), _stamp(path)) for path in part.files])).encode())
    return digest.hexdigest()


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:  # said when the pictures are looked at
        return None
    return stat.st_size, stat.st_mtime_ns


class Checkpoint:
    """Where a run is kept: one file for each set of weights, pictures and settings, so that none goes on as another."""

    def __init__(self, folder: Path, weights: str, material: Material, settings: Settings) -> None:
        self._folder = folder
        self._path = folder / f"{digest_of(weights, settings, material.train)[:16]}.pt"

    def save(self, run: FineTuning) -> None:
        """Writes the run's state, whole or not at all. Raises OSError."""
        self._folder.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()  # torch calls a full disk a RuntimeError
        torch.save(run.state(), buffer)
        staging = self._path.with_suffix(f".{os.getpid()}.part")
        try:
            staging.write_bytes(buffer.getbuffer())
            staging.replace(self._path)
        finally:
            staging.unlink(missing_ok=True)

    def load(self) -> dict[str, Any] | None:
        """The state that was kept; None where there is none, or none that can be read."""
        if not self._path.is_file():
            return None
        try:
            return torch.load(self._path, map_location="cpu", weights_only=True)  # type: ignore[no-any-return]
        except Exception:  # noqa: BLE001  # a damaged file raises whatever it is damaged into
            return None

    def sweep(self) -> None:
        """Removes this run; others are left, each for its own command to go on from."""
        self._path.unlink(missing_ok=True)
        with suppress(OSError):  # there are others
            self._folder.rmdir()
            self._folder.parent.rmdir()


def layers_of(weights: dict[str, torch.Tensor]) -> tuple[Layer, ...]:
    """Every convolution's and linear layer's weights, and how many of them are zero."""
    return tuple(
        Layer(name.removesuffix(".weight"), tuple(value.shape), int((value == 0).sum()), value.numel())
        for name, value in weights.items()
        if name.endswith(".weight") and value.dim() > 1
    )
