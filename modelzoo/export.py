"""A model as a file that others run: what can be had in which format, and the JSON beside the file that describes it.

    weights  ── torch ──> ONNX ── TensorRT ──> engine      each compared with torch on the probes
    artefact ── OpenVINO ──> IR with labels and transform   compared with the artefact on the golden image

No torch here: what cannot be had is refused at once.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Literal

from inference.artefacts import ArtefactStore, sha256_of
from inference.card import Agreement, Card, FileEntry
from inference.catalogue import Model
from inference.classifier import WrongAnswer
from modelzoo.export_files import CannotExport, placed

EXPORT_FORMAT = 1
INPUT, OUTPUT = "pixels", "logits"

Say = Callable[[str], None]
Format = Literal["onnx", "openvino", "tensorrt", "neuron"]

_SUFFIXES: dict[Format, tuple[str, ...]] = {"onnx": (".onnx",), "openvino": (".xml", ".bin"), "tensorrt": (".plan",)}
_USE: dict[Format, str] = {
    "onnx": "onnxruntime.InferenceSession('{file}').run(None, {{'pixels': pixels}})[0]",
    "openvino": "openvino.Core().compile_model('{file}')(pixels)[0]",
    "tensorrt": "tensorrt.Runtime(logger).deserialize_cuda_engine(open('{file}', 'rb').read())",
}


@dataclass(frozen=True)
class Wanted:
    """What is to be exported: a variant, its format, and where its weights are, if not where the catalogue says."""

    model: Model
    precision: str
    to: Format
    store: ArtefactStore
    weights: Path | None = None

    @property
    def stem(self) -> str:
        """What all of its files are called."""
        return f"{self.model.name}-{self.precision}"

    @property
    def files(self) -> tuple[str, ...]:
        """The network's files, then the JSON that describes them."""
        files = tuple(self.stem + suffix for suffix in _SUFFIXES[self.to])
        return (*files, f"{files[0]}.json")


def export(wanted: Wanted, folder: Path, *, force: bool = False, say: Say = lambda _: None) -> Card:
    """Writes the files into `folder`, all or none of them, and returns what is known about them.

    Raises CannotExport, WrongAnswer, OSError; ModelMissing, BadCard, DamagedArtefact (from an artefact).
    """
    if reason := why_not(wanted):
        raise CannotExport(reason)
    with placed(folder, wanted.files, force=force) as staging:
        write: Callable[[Wanted, Path, Say], Card] = import_module(f"modelzoo.export_{wanted.to}").write
        card = write(wanted, staging / wanted.files[0], say)
        files = {
            name: FileEntry((staging / name).stat().st_size, sha256_of(staging / name)) for name in wanted.files[:-1]
        }
        card = replace(card, files=files, built_at=datetime.now(UTC).isoformat(timespec="seconds"))
        (staging / wanted.files[-1]).write_text(_described(wanted, card), encoding="utf-8")
    return card


def why_not(wanted: Wanted) -> str | None:
    """Why a variant cannot be had in a format, in words; None where it can."""
    precision, name = wanted.precision, wanted.model.name
    if wanted.to == "neuron":
        return (
            "a model for AWS Inferentia is compiled where the Neuron compiler is, by torch-neuronx: docs/export.md "
            "has the recipe, from these very weights. It was not seen on hardware"
        )
    if precision == "bf16":
        return (
            "bf16 is the fp32 file, computed in bf16 by hardware that does so: export fp32, and ask for bf16 where it "
            "is loaded (OpenVINO: INFERENCE_PRECISION_HINT)"
        )
    if wanted.to == "openvino":
        if wanted.weights is not None:
            return f"the IR is that of the artefact: ninefold models build {name} --weights FILE, then export it"
        return None
    if precision in ("int8", "pruned"):
        return (
            f"{precision} is made as OpenVINO IR, and nothing turns that into another format: use --to openvino, or "
            "export fp32 and let the tools of where it will run do the rest (docs/export.md)"
        )
    return None


def judge(agreement: Agreement, *, logits: float, probability: float = float("inf")) -> None:
    """Raises WrongAnswer where a file is farther from its reference than rounding explains."""
    far = (agreement.max_logit_difference, agreement.max_probability_difference)
    if not (far[0] <= logits and far[1] <= probability):  # a difference that is no number is too large
        raise WrongAnswer(
            f"its logits are off by up to {far[0]:.2g} from those of {agreement.reference}, "
            f"its probabilities by up to {far[1]:.2g}"
        )


def metadata(card: Card) -> dict[str, str]:
    """What lies inside a file that has room for it: without its JSON it still says what it is and what it takes."""
    return {
        "model": card.model,
        "title": card.title,
        "precision": card.precision,
        "labels": json.dumps(card.labels, ensure_ascii=False),
        "transform": json.dumps(card.transform.to_dict()),
        "source": card.origin.place,
        "weights_sha256": card.origin.sha256,
        "licence": card.origin.licence,
    }


def _described(wanted: Wanted, card: Card) -> str:
    side, classes = card.transform.crop, len(card.labels)
    facts = asdict(card)
    about = {
        "format": EXPORT_FORMAT,
        "to": wanted.to,
        **{name: facts[name] for name in ("model", "title", "precision", "origin", "files", "agreement")},
        "input": {"name": INPUT, "type": "uint8", "shape": ["N", side, side, 3], "channels": "RGB"},
        "output": {"name": OUTPUT, "type": "float32", "shape": ["N", classes]},
        "use": _USE[wanted.to].format(file=wanted.files[0]),
        "transform": card.transform.to_dict() | {"note": "mean and std are applied inside the network"},
        **{name: facts[name] for name in ("versions", "built_at", "labels")},
    }
    return json.dumps(about, indent=1, ensure_ascii=False) + "\n"
