"""What a rolling update decides, before a Docker that is played: each container's life is a line of its script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
OLD, NEW, OTHER = "r/backend@sha256:old", "r/backend@sha256:new", "r/frontend@sha256:other"

# `lives`: what `docker inspect` says of a container of an image, one look after the other; the last one stays.
DOCKER = """#!PYTHON -IS
import json, os, sys
from pathlib import Path
home = Path(__file__).parents[1]
state = json.loads((home / "state.json").read_text())
words = sys.argv[1:]
with (home / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
variable = lambda service: "NINEFOLD_" + service.upper() + "_IMAGE"
env_file = dict(line.split("=", 1) for line in Path(".env").read_text().splitlines() if "=" in line)
image_of = lambda service: os.environ.get(variable(service)) or env_file.get(variable(service), "")
def end(code=0, said=""):
    (home / "state.json").write_text(json.dumps(state))
    print(said, file=sys.stderr if code else sys.stdout)
    sys.exit(code)
if words[0] == "compose":
    words = words[3:]
    service = words[-1]
    there = [name for name, each in state["containers"].items() if each["service"] == service]
    if words[0] == "ps":
        end(0, "\\n".join(there))
    if words[0] == "config" and "--hash" in words:
        end(0, service + " hash-of-" + sys.stdin.read().strip())
    if words[0] == "config":
        end(0, image_of(service) + state["settings"])
    if words[0] == "up":
        if image_of(service) in state["refused"]:
            end(1, "no such image")
        while len(there) < int(words[words.index("--scale") + 1].split("=")[1]):
            state["made"] += 1
            there.append(f"{service}-{state['made']}")
            state["containers"][there[-1]] = {"service": service, "image": image_of(service), "looks": 0}
        end()
    end()
if words[0] == "inspect":
    if words[1] not in state["containers"]:
        end(1, "Error: No such object: " + words[1])
    each = state["containers"][words[1]]
    life = state["lives"].get(each["image"], ["running healthy 0"])
    status, health, restarts = life[min(each["looks"], len(life) - 1)].split()
    each["looks"] += 1
    end(0, json.dumps([{
        "Id": words[1], "Name": "/" + words[1], "RestartCount": int(restarts), "Created": words[1],
        "State": {"Status": status, "Health": {"Status": health, "Log": [{"Output": "the golden image is wrong"}]}},
        "Config": {"Image": each["image"], "Labels": {
            "com.docker.compose.service": each["service"],
            "com.docker.compose.config-hash": "hash-of-" + each["image"],
        }},
    }]))
if words[0] == "rm":
    state["containers"].pop(words[-1])
if words[0] == "logs" and state["silent"]:
    end(1, "configured logging driver does not support reading")
end(0, "its last words" if words[0] == "logs" else "")
"""


class Host:
    """A folder with .env, and the Docker that is played."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state: dict[str, Any] = {
            "containers": {},
            "lives": {},
            "refused": [],
            "made": 0,
            "silent": False,
            "settings": "",
        }
        (folder / "bin").mkdir()
        (folder / "bin" / "docker").write_text(DOCKER.replace("PYTHON", sys.executable))
        (folder / "bin" / "docker").chmod(0o755)
        (folder / ".env").write_text(f"# by hand\nNINEFOLD_BACKEND_IMAGE={OLD}\nX=1\n")

    def has(self, name: str, image: str, service: str = "backend") -> None:
        self.state["containers"][name] = {"service": service, "image": image, "looks": 0}

    def roll(self, *words: str) -> subprocess.CompletedProcess[str]:
        (self.folder / "state.json").write_text(json.dumps(self.state))
        command = [sys.executable, "-m", "scripts.roll", "--directory", str(self.folder), *words]
        env = {**os.environ, "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}
        limits = ["--ready-seconds", "1", "--bake-seconds", "0.6"]
        done = subprocess.run(
            [*command, *limits], cwd=ROOT, env=env, capture_output=True, text=True, check=False, timeout=60
        )
        self.state = json.loads((self.folder / "state.json").read_text())
        return done

    @property
    def images(self) -> list[str]:
        return [each["image"] for each in self.state["containers"].values()]

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def env(self) -> list[str]:
        return (self.folder / ".env").read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    host.has("backend-a", OLD)
    return host


def test_the_old_one_goes_only_after_the_new_one_has_stood(host: Host) -> None:
    host.state["lives"][NEW] = ["running starting 0", "running starting 0", "running healthy 0"]
    done = host.roll("--backend", NEW)
    assert done.returncode == 0, done.stderr
    assert host.images == [NEW]
    assert host.env == ["# by hand", "X=1", f"NINEFOLD_BACKEND_IMAGE={NEW}"]
    stop = host.calls.index("stop backend-a")
    assert host.calls[:stop].count("inspect backend-1") > 4
    assert host.calls[stop + 1] == "rm --force --volumes backend-a"


@pytest.mark.parametrize(
    ("life", "why"),
    [
        (["running starting 0"], "not ready within 1 s: the golden image is wrong"),
        (["running starting 0", "running unhealthy 0"], "is unhealthy: the golden image is wrong"),
        (["running starting 0", "exited none 0"], "ended by itself"),
        (["running healthy 0", "running healthy 0", "running starting 1"], "ended by itself"),
        (["running healthy 0", "running healthy 0", "running unhealthy 0"], "is unhealthy"),
    ],
)
def test_one_that_does_not_stand_goes_and_nothing_has_changed(host: Host, life: list[str], why: str) -> None:
    host.state["lives"][NEW] = life
    before = host.env
    done = host.roll("--backend", NEW)
    assert done.returncode == 1 and "backend was not rolled" in done.stderr and why in done.stderr, done.stderr
    assert "its last words" in done.stdout
    assert (host.images, host.env) == ([OLD], before)
    assert "stop backend-a" not in host.calls


def test_one_whose_log_cannot_be_read_goes_all_the_same(host: Host) -> None:
    host.state["lives"][NEW], host.state["silent"] = ["exited none 0"], True
    done = host.roll("--backend", NEW)
    assert done.returncode == 1 and "ended by itself" in done.stderr and "does not support reading" in done.stdout
    assert host.images == [OLD]


def test_an_image_that_cannot_be_started_changes_nothing(host: Host) -> None:
    host.state["refused"].append(NEW)
    done = host.roll("--backend", NEW)
    assert done.returncode == 1 and "no such image" in done.stderr
    assert host.images == [OLD]


def test_what_was_rolled_before_goes_back_when_the_next_service_fails(host: Host) -> None:
    host.has("frontend-a", "r/frontend@sha256:old", "frontend")
    host.state["lives"][OTHER] = ["exited none 0"]
    done = host.roll("--backend", NEW, "--frontend", OTHER)
    assert done.returncode == 1 and "frontend was not rolled" in done.stderr
    assert sorted(host.images) == [OLD, "r/frontend@sha256:old"]
    assert host.env[-1] == f"NINEFOLD_BACKEND_IMAGE={OLD}"


def test_the_same_image_is_left_alone(host: Host) -> None:
    done = host.roll("--backend", OLD)
    assert done.returncode == 0 and "runs already" in done.stdout
    assert not [call for call in host.calls if " up " in call or call.startswith("stop")]


def test_a_first_roll_finds_nothing_and_starts_it(host: Host) -> None:
    host.state["containers"].clear()
    (host.folder / ".env").unlink()
    assert host.roll("--backend", NEW).returncode == 0
    assert host.images == [NEW] and host.env == [f"NINEFOLD_BACKEND_IMAGE={NEW}"]


@pytest.mark.parametrize("settings", ["", " and other settings since"])
def test_of_two_that_a_killed_roll_left_the_named_one_stays(host: Host, settings: str) -> None:
    host.has("backend-z", NEW)
    host.state["settings"] = settings
    done = host.roll("--backend", OLD)
    assert done.returncode == 0 and "interrupted" in done.stdout
    assert host.images == [OLD]


def test_the_proxy_takes_the_place_of_the_old_one_or_gives_it_back(host: Host) -> None:
    host.has("proxy-a", "r/proxy@sha256:old", "proxy")
    host.state["lives"]["r/proxy@sha256:bad"] = ["exited none 0"]
    (host.folder / ".env").write_text(f"NINEFOLD_BACKEND_IMAGE={OLD}\nNINEFOLD_PROXY_IMAGE=r/proxy@sha256:old\n")
    host.state["refused"].append("r/proxy@sha256:bad")
    done = host.roll("--proxy", "r/proxy@sha256:bad")
    assert done.returncode == 1 and "proxy was not rolled" in done.stderr
    assert "r/proxy@sha256:old" in host.images and "stop proxy-a" not in host.calls
    assert any(call.endswith("proxy check") for call in host.calls)


def test_wrong_words_are_one_sentence(host: Host) -> None:
    done = host.roll()
    assert done.returncode == 1 and done.stderr.strip() == (
        "ninefold: name an image: --backend, --frontend or --proxy."
    )
