"""The server's image, by its Dockerfile's text: what is taken out of which stage."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.servers import ROOT


def stages() -> dict[str, str]:
    """The text of each."""
    text = (ROOT / "backend" / "Dockerfile").read_text(encoding="utf-8")
    return dict(re.findall(r"^FROM \S+ AS (\S+)\n(.*?)(?=^FROM |\Z)", text, re.MULTILINE | re.DOTALL))


def test_the_gpus_plugin_keeps_its_table_of_kernels() -> None:
    """Without cache.json it chooses how to compute a convolution by itself, and not as well."""
    for taken_out in ("libopenvino_intel_[gn]pu_plugin.so", "cache.json"):
        told = [
            name for name, stage in stages().items() if re.search(rf"^(RUN|\s+&&).*{re.escape(taken_out)}", stage, re.M)
        ]
        assert told == ["packages-cpu"]


@pytest.mark.parametrize(("live", "more"), [("0", ""), ("1", "-r requirements/live.txt"), ("", "")])
def test_what_only_live_frames_need_is_installed_where_it_was_asked_for(tmp_path: Path, live: str, more: str) -> None:
    """The very lines of the stage, by a uv that says what it was asked."""
    (tmp_path / "uv").write_text('#!/bin/sh\necho "$@"\n')
    (tmp_path / "uv").chmod(0o755)
    (run,) = re.findall(r"^RUN --mount=\S+ (.*)", stages()["installed"], re.MULTILINE | re.DOTALL)
    environment = {"PATH": f"{tmp_path}:{os.defpath}", "LIVE": live}
    done = subprocess.run(["sh", "-ec", run], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1].endswith(f"-r requirements/backend.txt {more}".rstrip())
    compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert compose["services"]["backend"]["build"]["args"]["LIVE"] == "${NINEFOLD_LIVE:-0}"
    assert "ARG LIVE=0\n" in stages()["installed"]
