"""The Python of the peers: made once, made anew when its pins change, and whole or not there."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from scripts import peers_venv
from scripts.refusal import Refusal

ROOT = Path(__file__).parents[2]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "requirements" / name).read_text(encoding="utf-8").splitlines()
    found = (line.split(";")[0].strip().partition("==") for line in lines if line[:1] not in ("#", ""))
    return {re.sub(r"\[.*\]", "", package): version for package, _, version in found}


def test_it_is_made_once_and_an_interrupted_one_is_not_taken_for_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, asked = tmp_path / ".venv-peers", []
    for name in ("WANTED", "CONSTRAINTS"):
        (tmp_path / name).write_text("mosec==0.9.8\n")
        monkeypatch.setattr(peers_venv, name, tmp_path / name)
    monkeypatch.setattr(peers_venv, "FOLDER", folder)
    monkeypatch.setattr(peers_venv, "INTERPRETER", folder / "bin" / "python")
    monkeypatch.setattr(peers_venv, "_STAMP", folder / "made-of")
    monkeypatch.setattr(peers_venv, "require_space", lambda *_: None)

    def uv(*arguments: str) -> None:
        asked.append(arguments[0])
        if arguments[0] == "venv":
            (folder / "bin").mkdir(parents=True)
            (folder / "pyvenv.cfg").write_text("version = 3.11\n")
            (folder / "bin" / "python").symlink_to(sys.executable)
        elif asked.count("pip") == 1:
            raise Refusal("uv could not.")

    monkeypatch.setattr(peers_venv, "run_uv", uv)
    with pytest.raises(Refusal):
        peers_venv.ensure_peers_venv()
    assert not peers_venv.is_current()
    peers_venv.ensure_peers_venv()
    peers_venv.ensure_peers_venv()
    assert asked == ["venv", "pip", "pip"]
    assert peers_venv.is_current()
    peers_venv.WANTED.write_text("mosec==0.9.9\n")
    assert not peers_venv.is_current()


def test_what_both_sides_run_on_has_the_same_version() -> None:
    """Else a ratio would be one of releases."""
    theirs = pins("peers.txt")
    assert theirs.items() <= pins("peers-constraints.txt").items()
    ours = pins("backend.txt") | pins("modelzoo.txt")
    shared = theirs.keys() & ours.keys()
    assert {"fastapi", "numpy", "openvino", "pillow", "torch", "uvicorn"} <= shared
    assert {name: theirs[name] for name in shared} == {name: ours[name] for name in shared}
