"""Which detectors there are: data, like the catalogue of classifiers, which they are no part of.

A detector is a classifier with another answer (`inference.boxes`): uint8[N,H,W,3] → float32[N,Q,6]. Scheduler,
artefacts, cards and engines take it as it is. Each has a twin with random weights, NAME-seeded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Literal

from contract.transform import TransformSpec
from inference.artefacts import ArtefactStore, Variant
from inference.catalogue import BY_NAME
from inference.choice import ModelMissing, ModelUnknown, usable, why_missing


class Mode(StrEnum):
    """What is asked of a camera's frame."""

    CLASSIFY = "classify"
    DETECT = "detect"
    BOTH = "detect+classify"


@dataclass(frozen=True)
class HubSource:
    """Where a detector's weights come from.

    `hub`: `repository` on the Hugging Face hub, at the commit `revision`. `seeded`: random weights from a fixed seed.
    """

    kind: Literal["hub", "seeded"]
    repository: str
    revision: str
    licence: str


@dataclass(frozen=True)
class Detector:
    """One architecture of transformers with one set of weights, and the frame it wants to see.

    `architecture` is transformers' model type. `settings` are what makes its configuration, where no weights bring one:
    the twin with random weights is of the same size. `transform` takes the whole frame, whatever its shape.
    """

    name: str
    title: str
    architecture: Literal["rt_detr", "detr"]
    source: HubSource
    transform: TransformSpec
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def for_measurements_only(self) -> bool:
        """True for random weights: never offered to a person, listed only once it was built on purpose."""
        return self.source.kind == "seeded"


_PUBLISHED = (
    Detector(
        name="rtdetr_r18",
        title="RT-DETR-R18",
        architecture="rt_detr",
        source=HubSource(
            "hub", "PekingU/rtdetr_r18vd", "0d7b0679c44060af78116c0fdf6d25774e9598f7", licence="Apache-2.0"
        ),
        # It was trained on values from 0 to 1.
        transform=TransformSpec(640, 640, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), whole=True),
        settings={
            "num_labels": 80,
            "backbone_config": {
                "model_type": "rt_detr_resnet",
                "hidden_sizes": [64, 128, 256, 512],
                "depths": [2, 2, 2, 2],
                "layer_type": "basic",
                "out_indices": [2, 3, 4],
            },
            "encoder_in_channels": [128, 256, 512],
            "hidden_expansion": 0.5,
            "decoder_layers": 3,
        },
    ),
    Detector(
        name="detr_resnet50",
        title="DETR, ResNet-50",
        architecture="detr",
        source=HubSource(
            "hub", "facebook/detr-resnet-50", "1d5f47bd3bdd2c4bbfa585418ffe6da5028b4c0b", licence="Apache-2.0"
        ),
        transform=TransformSpec(800, 800, whole=True),
        settings={"num_labels": 91},
    ),
)


def _twin(detector: Detector) -> Detector:
    """The same architecture and transform with random weights."""
    source = HubSource("seeded", "seed 9", "", licence="none")
    return replace(detector, name=f"{detector.name}-seeded", title=f"{detector.title}, random weights", source=source)


DETECTORS = (*_PUBLISHED, *(_twin(detector) for detector in _PUBLISHED))
DETECTORS_BY_NAME = {detector.name: detector for detector in DETECTORS}
DEFAULT_DETECTOR = _PUBLISHED[0].name


def resolve_detector(store: ArtefactStore, name: str | None = None, device: str = "CPU") -> Variant:
    """The detector meant by a name or, without one, the first of those with published weights that is here for the
    device. A name of neither catalogue means what somebody puts into a folder of the store.

    Raises ModelUnknown, or ModelMissing with the reason and the command that adds it.
    """
    published = [detector.name for detector in _PUBLISHED]
    if name is None:
        name = next((found for found in published if usable(store, found, device)), DEFAULT_DETECTOR)
    if name not in DETECTORS_BY_NAME and (name in BY_NAME or not (store.root / name).is_dir()):
        known = ", ".join(published)
        raise ModelUnknown(f"There is no detector {name!r:.60}. Known detectors: {known}.")
    built = usable(store, name, device)
    if not built:
        why = why_missing(store, name, device)
        raise ModelMissing(f"{name}, which finds the things on a frame, is not here: {why}")
    return Variant(name, built[0])
