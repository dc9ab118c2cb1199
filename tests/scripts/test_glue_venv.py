"""The Python with Spark: made once, made again when its pins change, and whole or not there."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from scripts import glue_venv
from scripts.refusal import Refusal

ROOT = Path(__file__).parents[2]


class Uv:
    """Stands in for uv: notes what it is asked for, and makes the folder that it would make."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.asked: list[tuple[str, ...]] = []
        self.fails_at = ""

    def __call__(self, *arguments: str) -> None:
        self.asked.append(arguments)
        if self.fails_at and self.fails_at in arguments:
            raise Refusal("uv could not.")
        if arguments[0] == "venv":
            (self.folder / "bin").mkdir(parents=True, exist_ok=True)
            (self.folder / "pyvenv.cfg").write_text("version = 3.11\n")
            (self.folder / "bin" / "python").unlink(missing_ok=True)
            (self.folder / "bin" / "python").symlink_to(sys.executable)

    @property
    def steps(self) -> list[str]:
        return [arguments[0] for arguments in self.asked]


@pytest.fixture
def uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Uv:
    folder = tmp_path / ".venv-glue"
    pins = {name: tmp_path / f"{name}.txt" for name in ("glue", "constraints")}
    for path in pins.values():
        path.write_text("pyspark==3.5.6\n")
    monkeypatch.setattr(glue_venv, "FOLDER", folder)
    monkeypatch.setattr(glue_venv, "INTERPRETER", folder / "bin" / "python")
    monkeypatch.setattr(glue_venv, "WANTED", pins["glue"])
    monkeypatch.setattr(glue_venv, "CONSTRAINTS", pins["constraints"])
    monkeypatch.setattr(glue_venv, "_STAMP", folder / "made-of")
    stand_in = Uv(folder)
    monkeypatch.setattr(glue_venv, "run_uv", stand_in)
    this = "{}.{}".format(*sys.version_info)
    monkeypatch.setattr(glue_venv, "SPARK_PYTHONS", (this,))
    return stand_in


def test_it_is_made_once(uv: Uv, capsys: pytest.CaptureFixture[str]) -> None:
    glue_venv.ensure_glue_venv()
    assert uv.steps == ["venv", "pip"]
    assert {"-r", "-c", str(glue_venv.WANTED), str(glue_venv.CONSTRAINTS)} <= set(uv.asked[1])
    capsys.readouterr()
    assert glue_venv.main() == 0
    assert uv.steps == ["venv", "pip"]
    assert capsys.readouterr().out == f"{glue_venv.INTERPRETER}\n"


@pytest.mark.parametrize("changed", ["WANTED", "CONSTRAINTS"])
def test_another_pin_is_installed_into_the_same_python(uv: Uv, changed: str) -> None:
    glue_venv.ensure_glue_venv()
    with getattr(glue_venv, changed).open("a") as file:
        file.write("# changed\n")
    assert not glue_venv.is_current()
    glue_venv.ensure_glue_venv()
    assert uv.steps == ["venv", "pip", "pip"]
    assert glue_venv.is_current()


def test_an_interrupted_installation_is_not_taken_for_a_whole_one(uv: Uv) -> None:
    uv.fails_at = "pip"
    with pytest.raises(Refusal):
        glue_venv.ensure_glue_venv()
    assert not glue_venv.is_current()
    uv.fails_at = ""
    glue_venv.ensure_glue_venv()
    assert uv.steps == ["venv", "pip", "pip"]  # goes on, does not begin again
    assert glue_venv.is_current()


def test_a_python_that_went_away_is_made_again(uv: Uv) -> None:
    glue_venv.ensure_glue_venv()
    glue_venv.INTERPRETER.unlink()
    glue_venv.ensure_glue_venv()
    assert uv.steps == ["venv", "pip", "venv", "pip"]


def test_the_python_of_venv_is_taken_where_spark_runs_on_it(uv: Uv) -> None:
    glue_venv.ensure_glue_venv()
    assert str(glue_venv.PYTHON) in uv.asked[0]


def test_where_spark_does_not_run_another_python_is_asked_for(uv: Uv, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(glue_venv, "SPARK_PYTHONS", ("3.9",))
    glue_venv.ensure_glue_venv()
    assert uv.asked[0][uv.asked[0].index("--python") + 1] == "3.9"
    uv.fails_at = "venv"
    glue_venv.INTERPRETER.unlink()
    glue_venv._STAMP.unlink()
    with pytest.raises(Refusal, match=r"^install Python 3\.9 for Spark, then type the same command again: .*\.$"):
        glue_venv.ensure_glue_venv()


def test_of_two_at_once_the_second_waits_and_has_nothing_to_do(
    uv: Uv, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Uv):
        def __call__(self, *arguments: str) -> None:
            begun.set()
            assert go_on.wait(10)
            super().__call__(*arguments)

    slow = Slow(uv.folder)
    monkeypatch.setattr(glue_venv, "run_uv", slow)
    threads = [threading.Thread(target=glue_venv.ensure_glue_venv) for _ in range(2)]
    threads[0].start()
    assert begun.wait(10)
    threads[1].start()
    threads[1].join(0.3)
    assert threads[1].is_alive()
    go_on.set()
    for thread in threads:
        thread.join(10)
    assert slow.steps == ["venv", "pip"]
    assert "waiting for it" in capsys.readouterr().out


def test_it_can_be_read_by_the_python_that_a_bare_machine_has() -> None:
    """Set-up for tests imports it on any Python since 3.8: no syntax and no name that is younger."""
    source = (ROOT / "scripts" / "glue_venv.py").read_text()
    done = subprocess.run(
        [sys.executable, "-c", f"import ast; ast.parse({source!r}, feature_version=(3, 8))"], check=False
    )
    assert done.returncode == 0
