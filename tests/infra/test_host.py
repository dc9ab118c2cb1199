"""The host's scripts where AWS, Docker or a secret is not as it should be; stand-ins answer in place of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.infra.terraform import INFRA, ROOT

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the host's scripts lean on a Linux's tools")
WANTED, FORMER, OLD = ("a" * 64, "b" * 64, "c" * 64)
DIGESTS = [f"sha256:{WANTED}", *[f"sha256:{digit * 64}" for digit in "123"]]
SETTINGS = "NINEFOLD_REGISTRY=r\nNINEFOLD_SECRETS=/ninefold/secrets\nNINEFOLD_RUNS=/ninefold/runs"
STAND_INS = {
    # A parameter is a file of the folder PARAMETERS; FORBIDDEN is one that may not be read.
    "aws": """
said="$*" name=${said#*--name } name=${name%% *}
case "$1 $2" in
    "ssm get-parameter")
        [[ $name != "${FORBIDDEN:-}" ]] || { echo "An error occurred (AccessDeniedException)" >&2; exit 254; }
        [[ -e $PARAMETERS/${name##*/} ]] || { echo "An error occurred (ParameterNotFound)" >&2; exit 254; }
        cat "$PARAMETERS/${name##*/}";;
    "ssm put-parameter") echo "${@: -1}" >"$PARAMETERS/runs";;
esac
""",
    # A proxy with a certificate of its own making where OWN is there; one with DAMAGED in it is taken by none.
    "docker": """
case "$*" in
    login*) cat >/dev/null;;
    *"exec --no-TTY proxy test"*) [[ -e $OWN ]];;
    *"proxy start check") ! grep --quiet DAMAGED secrets/proxy/site.pem 2>/dev/null;;
esac
""",
    "python3": '[[ ${ROLL_ENDS_WITH:-0} != killed ]] || kill -9 0; exit "${ROLL_ENDS_WITH:-0}"',
    "systemctl": "",
    "sleep": "",
    "ninefold-roll": "",
}


class Host:
    """A folder in place of the host's file system, with the bundle that is wanted, the former and an old one."""

    def __init__(self, folder: Path) -> None:
        self.home, self.parameters, self.own = folder / "home", folder / "parameters", folder / "own"
        self.etc = folder / "etc"
        self._calls = folder / "calls"
        for name in ("bin", "etc", "units", "programs", "parameters"):
            (folder / name).mkdir()
        for name, body in STAND_INS.items():
            note = f'echo "{name} $*" >>"$CALLS"'
            (folder / "bin" / name).write_text(f"#!/bin/bash\n{note}\n{body}\n")
            (folder / "bin" / name).chmod(0o755)
        for name in (WANTED, FORMER, OLD):
            bundle = self.home / "bundles" / name
            (bundle / "infra").mkdir(parents=True)
            (bundle / "infra" / "host").symlink_to(INFRA / "host")
            (bundle / "scripts").mkdir()
            (bundle / "docker-compose.yml").write_text(name)
            os.utime(bundle, times=(time.time() - 3 * 86400,) * 2)
        (self.home / "bundle").write_text(f"{FORMER}\n")
        (self.etc / "where.env").write_text("AWS_DEFAULT_REGION=us-east-1\nNINEFOLD_NAME=ninefold\n")
        self.put("settings", SETTINGS)
        self._environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(self._calls),
            "OWN": str(self.own),
            "PARAMETERS": str(self.parameters),
            "NINEFOLD_HOME": str(self.home),
            "NINEFOLD_ETC": str(self.etc),
            "NINEFOLD_UNITS": str(folder / "units"),
            "NINEFOLD_PROGRAMS": str(folder / "programs"),
            "NINEFOLD_USER": str(os.getuid()),
        }

    def put(self, name: str, value: str) -> None:
        (self.parameters / name).write_text(value)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        env = self._environment | environment
        # A session of its own, so that what is killed in it is killed alone.
        return subprocess.run(
            command, env=env, capture_output=True, text=True, check=False, timeout=60, start_new_session=True
        )

    def roll(self, **environment: str) -> subprocess.CompletedProcess[str]:
        return self.run("bash", str(INFRA / "host" / "ninefold-roll.sh"), *DIGESTS, **environment)

    def calls(self, *beginnings: str) -> list[str]:
        return [call for call in self._calls.read_text().splitlines() if call.startswith(beginnings)]

    @property
    def proxy_was_told(self) -> list[str]:
        """What became of the proxy, `kill` (a signal) or `up` (a new container), in the last roll and before."""
        return [call.split()[4] for call in self.calls("docker compose") if "exec" not in call]

    @property
    def certificates(self) -> dict[str, str]:
        """HAProxy reads every file that lies there."""
        return {path.name: path.read_text() for path in (self.home / "secrets" / "proxy").iterdir()}


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_room_is_made_before_anything_is_fetched(host: Host) -> None:
    done = host.roll()
    assert done.returncode == 0, done.stderr
    calls = [call.split()[0:3] for call in host.calls("docker image", "aws s3", "aws ecr", "python3")]
    assert calls[0] == ["docker", "image", "prune"] and calls[-1][0] == "python3"
    assert {path.name for path in (host.home / "bundles").iterdir()} == {WANTED, FORMER}


def test_a_secret_that_nobody_put_is_no_file_and_one_that_is_gone_goes(host: Host) -> None:
    host.put("keys", "{}")
    host.put("page", "NINEFOLD_API_KEY=1")
    assert host.roll().returncode == 0
    (host.parameters / "page").unlink()
    assert host.roll().returncode == 0
    assert [path.name for path in sorted(host.home.glob("secrets/*/*"))] == ["keys.json"]


def test_a_secret_that_cannot_be_read_ends_the_roll_before_anything_changes(host: Host) -> None:
    host.put("page", "NINEFOLD_API_KEY=1")
    assert host.roll().returncode == 0
    before = len(host.calls("python3"))
    (host.home / "bundle").write_text(f"{FORMER}\n")
    done = host.roll(FORBIDDEN="/ninefold/secrets/page")
    assert done.returncode == 1
    assert "/ninefold/secrets/page cannot be read" in done.stderr and "AccessDenied" in done.stderr
    assert len(host.calls("python3")) == before and (host.home / "bundle").read_text().strip() == FORMER
    assert (host.home / "secrets/frontend/page.env").read_text() == "NINEFOLD_API_KEY=1"


def test_the_servers_settings_are_fetched_at_each_roll_for_as_long_as_there_are_any(host: Host) -> None:
    file = host.etc / "backend.env"
    host.put("backend", "# backend_settings\nNINEFOLD_QUEUE_IMAGES='72'")
    host.put("settings", f"{SETTINGS}\nNINEFOLD_BACKEND_SETTINGS=/ninefold/backend")
    assert host.roll().returncode == 0
    assert file.read_text() == "# backend_settings\nNINEFOLD_QUEUE_IMAGES='72'\n"
    assert f"NINEFOLD_BACKEND_ENV='{file}'" in (host.etc / "settings.env").read_text().splitlines()
    assert host.roll(FORBIDDEN="/ninefold/backend").returncode != 0
    assert len(host.calls("python3")) == 1 and "72" in file.read_text()
    host.put("settings", SETTINGS)  # as a configuration has it that knows of none
    assert host.roll(FORBIDDEN="/ninefold/backend").returncode == 0
    assert len(host.calls("python3")) == 2 and not file.read_text().strip()


@pytest.mark.parametrize(
    ("given", "own", "told"),
    [(False, True, "kill"), (True, True, "up"), (True, False, "kill"), (False, False, "up")],
)
def test_the_proxy_takes_the_certificate_that_is_there(host: Host, given: bool, own: bool, told: str) -> None:
    if given:
        host.put("tls", "a certificate")
    if own:
        host.own.touch()
    assert host.roll().returncode == 0
    assert host.proxy_was_told == [told]


@pytest.mark.parametrize("roll_ends_with", ["0", "1"])
def test_a_damaged_certificate_is_said_and_not_kept(host: Host, roll_ends_with: str) -> None:
    host.put("tls", "a certificate")
    assert host.roll().returncode == 0
    host.put("tls", "DAMAGED")
    done = host.roll(ROLL_ENDS_WITH=roll_ends_with)
    assert done.returncode == 1
    assert ("did not take the certificate" in done.stderr) == (roll_ends_with == "0")
    assert host.proxy_was_told == ["kill"]  # of the first roll
    assert host.certificates == {"site.pem": "a certificate"}


@pytest.mark.parametrize(
    ("noted", "called"), [(" ".join(DIGESTS), [f"ninefold-roll {' '.join(DIGESTS)}"]), ("nothing", [])]
)
def test_a_new_host_starts_what_is_noted(host: Host, noted: str, called: list[str]) -> None:
    host.put("runs", noted)
    assert host.run("bash", "-euo", "pipefail", "-c", last_part_of_first_start()).returncode == 0
    assert host.calls("ninefold-roll", "sleep") == called


def test_a_new_host_waits_for_its_role_and_says_when_it_gets_none(host: Host) -> None:
    done = host.run("bash", "-euo", "pipefail", "-c", last_part_of_first_start())
    assert done.returncode == 1 and "/ninefold/runs cannot be read" in done.stderr
    assert host.calls("sleep") == ["sleep 5"] * 60 and not host.calls("ninefold-roll")


def last_part_of_first_start() -> str:
    """What comes after Docker and the files are there, as Terraform writes it."""
    script = (INFRA / "host" / "first-start.sh.tftpl").read_text(encoding="utf-8").split("ninefold-roll\n")[-1]
    return (
        script.replace("$${", "\0").replace("${region}", "us-east-1").replace("${name}", "ninefold").replace("\0", "${")
    )


def test_the_proxy_looks_at_a_certificate_beside_the_one_that_it_made(tmp_path: Path) -> None:
    """proxy/start.sh with a stand-in for HAProxy that says where it was told to find certificates."""
    (tmp_path / "haproxy").write_text('#!/bin/bash\necho "$NINEFOLD_TLS_DIR $1"\n')
    (tmp_path / "haproxy").chmod(0o755)
    given = tmp_path / "tls"
    given.mkdir()
    (given / "site.pem").write_text("a certificate")
    env = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "NINEFOLD_TLS_DIR": str(given)}
    for arguments, how in ((["check"], "-c"), ([], "-W")):
        command = ["bash", str(ROOT / "proxy" / "start.sh"), *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=30)
        assert done.stdout.split() == [str(given), how], done.stderr


def test_secrets_change_together_or_not_at_all_save_that_keys_stay(host: Host) -> None:
    """A server that runs follows its keys, so they are not taken back: who was revoked stays out."""
    names = {"keys": "backend/keys.json", "page": "frontend/page.env", "sign-in": "frontend/secrets.toml"}

    def lie() -> dict[str, str]:
        folder = host.home / "secrets"
        return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}

    for name in ("keys", "page"):
        host.put(name, f"{{first {name}}}")
    assert host.roll().returncode == 0
    before = lie()
    assert before == {names[name]: f"{{first {name}}}" for name in ("keys", "page")}
    for name in names:
        host.put(name, f"{{second {name}}}")
    for name in names:
        assert host.roll(FORBIDDEN=f"/ninefold/secrets/{name}").returncode == 1
        assert lie() == before
    assert host.roll(ROLL_ENDS_WITH="1").returncode == 1
    assert lie() == before | {names["keys"]: "{second keys}"}, "a revoked key must not become good again"
    assert host.roll().returncode == 0
    assert lie() == {path: f"{{second {name}}}" for name, path in names.items()}
    host.put("keys", "{cut o")
    assert host.roll().returncode == 1 and lie()[names["keys"]] == "{second keys}"
    (host.parameters / "keys").unlink()
    assert host.roll(ROLL_ENDS_WITH="1").returncode == 1
    assert lie()[names["keys"]] == "{second keys}", "without keys nothing would start"


def test_after_a_roll_that_was_killed_the_secrets_before_it_are_what_comes_back(host: Host) -> None:
    host.put("page", "first")
    assert host.roll().returncode == 0
    host.put("page", "second")
    assert host.roll(ROLL_ENDS_WITH="killed").returncode != 0
    assert (host.home / "secrets/frontend/page.env").read_text() == "second"
    host.put("page", "third")
    assert host.roll(ROLL_ENDS_WITH="1").returncode == 1
    assert (host.home / "secrets/frontend/page.env").read_text() == "first"
