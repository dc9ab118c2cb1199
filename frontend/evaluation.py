"""The server's last evaluation: how good, how fast and how large each variant is, by one run on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from frontend.api import LOOK_TIMEOUT, Api, Refused, VariantName, read

__all__ = ["Evaluation", "Measured", "NotMeasured", "Share", "last_evaluation"]


@dataclass(frozen=True)
class Share:
    """A share (0..1) of the pictures, and its 95 % interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Measured:
    """A variant. `random`: whether its weights are; `agreement`: how often its top-1 is that of fp32;
    `milliseconds`: one image alone, pixels to logits; `time_ratio`: that over fp32's; `images_per_second`: from JPEG
    bytes to the answer, on all cores."""

    variant: VariantName
    title: str
    images: int
    errors: int
    top1: Share
    top5: Share
    agreement: Share | None
    milliseconds: float
    time_ratio: float | None
    images_per_second: float
    size_bytes: int
    zipped_bytes: int
    random: bool = False

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.title} {self.variant.precision}"


@dataclass(frozen=True)
class NotMeasured:
    """A model that was asked for and was not there."""

    title: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """All variants, and what the figures hang on: when, on which pictures, on which machine."""

    made_at: datetime
    data: str
    layout: str
    images: int
    processor: str
    cores: int
    openvino: str
    variants: tuple[Measured, ...]
    missing: tuple[NotMeasured, ...]
    device: str = "CPU"


def last_evaluation(api: Api) -> Evaluation | None:
    """What GET /v1/evaluation answers, or None where nothing was evaluated. Raises ApiError."""
    try:
        body = api.send("GET", "/v1/evaluation", timeout=LOOK_TIMEOUT)
    except Refused as refused:
        if refused.code == "no_evaluation":
            return None
        raise
    return read(lambda: _evaluation(body))


def _evaluation(body: Mapping[str, Any]) -> Evaluation:
    made_at = datetime.fromisoformat(body["made_at"])
    return Evaluation(
        made_at=made_at if made_at.tzinfo else made_at.replace(tzinfo=UTC),
        data=str(body["data"]["name"]),
        layout=str(body["data"]["layout"]),
        images=int(body["data"]["images"]),
        processor=str(body["machine"]["processor"]),
        cores=int(body["machine"]["cores"]),
        openvino=str(body["machine"]["openvino"]),
        variants=tuple(_measured(entry) for entry in body["variants"]),
        missing=tuple(NotMeasured(str(entry["title"]), str(entry["reason"])) for entry in body["missing"]),
        device=str(body["machine"].get("device", "CPU")),
    )


def _measured(entry: Mapping[str, Any]) -> Measured:
    ratio = entry["time_ratio"]
    return Measured(
        variant=VariantName(str(entry["model"]), str(entry["precision"])),
        title=str(entry["title"]),
        images=int(entry["images"]),
        errors=int(entry["errors"]),
        top1=_share(entry["top1"]),
        top5=_share(entry["top5"]),
        agreement=_share(entry["agreement"]) if entry["agreement"] else None,
        milliseconds=float(entry["milliseconds"]),
        time_ratio=None if ratio is None else float(ratio),
        images_per_second=float(entry["images_per_second"]),
        size_bytes=int(entry["size_bytes"]),
        zipped_bytes=int(entry["zipped_bytes"]),
        random=bool(entry.get("random", False)),
    )


def _share(entry: Mapping[str, Any]) -> Share:
    return Share(float(entry["share"]), float(entry["low"]), float(entry["high"]))
