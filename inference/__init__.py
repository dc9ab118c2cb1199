"""Pixels to predictions: the catalogue, artefacts and cards, classifiers, the scheduler. No torch on a CPU."""

import sys
from typing import Any, cast

# OpenVINO and NNCF report to their maker what is converted, each time from a fork of this process. Without this package
# they have a stub for it, and nothing here talks to anyone that it was not told of.
cast("dict[str, Any]", sys.modules).setdefault("openvino_telemetry", None)
