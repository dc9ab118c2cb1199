"""The server's image, by its Dockerfile's text: what is taken out of which stage."""

from __future__ import annotations

import re

from tests.servers import ROOT


def test_the_gpus_plugin_keeps_its_table_of_kernels() -> None:
    """Without cache.json it chooses how to compute a convolution by itself, and not as well."""
    text = (ROOT / "backend" / "Dockerfile").read_text(encoding="utf-8")
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL))
    for taken_out in ("libopenvino_intel_[gn]pu_plugin.so", "cache.json"):
        told = [
            name for name, stage in stages.items() if re.search(rf"^(RUN|\s+&&).*{re.escape(taken_out)}", stage, re.M)
        ]
        assert told == ["packages-cpu"]
