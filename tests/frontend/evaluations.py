"""An evaluation as GET /v1/evaluation answers it."""

from __future__ import annotations

from typing import Any


def share(middle: float, half: float = 0.05) -> dict[str, float]:
    return {"share": middle, "low": round(middle - half, 4), "high": round(middle + half, 4)}


def variant(precision: str = "fp32", **changed: Any) -> dict[str, Any]:
    """One line; int8 is twice as fast."""
    fp32 = precision == "fp32"
    line = {
        "model": "small", "title": "Small", "precision": precision, "random": False, "images": 256, "errors": 0,
        "top1": share(0.742), "top5": share(0.9), "agreement": None if fp32 else share(0.941, 0.02),
        "milliseconds": 12.5 if fp32 else 6.25, "time_ratio": None if fp32 else 0.5,
        "images_per_second": 120.4, "size_bytes": 18_600_000, "zipped_bytes": 17_000_000,
    }  # fmt: skip
    return line | changed


def evaluation(*variants: dict[str, Any], **changed: Any) -> dict[str, Any]:
    """Of these, or of fp32 and int8."""
    body = {
        "format": 1,
        "made_at": "2025-03-04T10:00:00Z",
        "data": {"name": "holiday", "layout": "csv", "images": 256},
        "machine": {"device": "CPU", "processor": "A processor", "cores": 2, "openvino": "2026.4.1"},
        "variants": list(variants) or [variant(), variant("int8")],
        "missing": [{"model": "large", "title": "Large", "reason": "it has not been built."}],
    }
    return body | changed
