"""`ninefold keys`: the file that a server reads, and who may read it."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from typer.testing import CliRunner, Result

from cli.main import app
from cli.server import client_for
from contract.keys import BadKeys, Keys, digest, read_keys


def keys(*arguments: str | Path, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["keys", *map(str, arguments)], input=stdin)


def test_a_key_is_printed_once_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    added = keys("add", "--file", file, "--name", "the page", "--requests-per-minute", "600")
    presented = added.stdout.strip()
    (key,) = read_keys(file).keys
    assert added.exit_code == 0 and presented.startswith(f"nf_{key.id}_") and len(presented) > 50
    assert (key.name, key.requests_per_minute, key.sha256) == ("the page", 600, digest(presented))
    assert presented.rpartition("_")[2] not in file.read_text()
    assert file.stat().st_mode & 0o777 == 0o600
    listed = keys("list", "--file", file)
    assert key.id in listed.stdout and presented not in listed.stdout and key.sha256 not in listed.stdout


def test_revoking_takes_one_away_and_never_the_last(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    for name in ("a", "b"):
        keys("add", "--file", file, "--name", name)
    secret, (first, second) = read_keys(file).token_secret, read_keys(file).keys
    assert keys("revoke", first.id, "--file", file).exit_code == 0
    assert read_keys(file) == Keys(secret, (second,))
    assert keys("revoke", first.id, "--file", file).exit_code == 2
    last = keys("revoke", second.id, "--file", file)
    assert last.exit_code == 2 and "the only key" in last.stderr and read_keys(file).keys == (second,)


def test_whoever_could_read_the_file_still_can_and_a_link_stays_one(tmp_path: Path) -> None:
    real, link = tmp_path / "real.json", tmp_path / "keys.json"
    link.symlink_to(real)
    keys("add", "--file", link, "--name", "a")
    real.chmod(0o640)
    keys("add", "--file", link, "--name", "b")
    assert link.is_symlink() and len(read_keys(real).keys) == 2
    assert real.stat().st_mode & 0o777 == 0o640


def test_a_damaged_file_is_never_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    file.write_text("{}")
    added = keys("add", "--file", file, "--name", "x")
    assert added.exit_code == 2 and "damaged" in added.stderr and file.read_text() == "{}"
    assert [path.name for path in tmp_path.iterdir()] == ["keys.json"]


def test_a_folder_that_is_not_there_is_said_with_what_makes_it(tmp_path: Path) -> None:
    folder = tmp_path / "the keys"
    added = keys("add", "--file", folder / "keys.json", "--name", "x")
    assert (added.exit_code, added.stdout) == (2, "") and "Traceback" not in added.stderr
    assert f"mkdir -p '{folder}'" in " ".join(added.stderr.split())
    assert not folder.exists()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"token_secret": "short"}, "token_secret"),
        ({"keys": [{"id": "x", "name": "", "sha256": "0" * 64}]}, "damaged"),
        ({"keys": [{"id": "0" * 8, "name": "", "sha256": "0" * 64, "requests_per_minute": 0}]}, "damaged"),
        ({"keys": [{"id": "0" * 8, "name": "", "sha256": "0" * 64}] * 2}, "same id"),
        ({"keys": []}, "has no key"),
        ({"keys": 7}, "damaged"),
    ],
)
def test_what_is_no_keys_file_is_said(tmp_path: Path, change: dict[str, object], why: str) -> None:
    file = tmp_path / "keys.json"
    file.write_text(json.dumps({"token_secret": "x" * 32, "keys": []} | change))
    with pytest.raises(BadKeys, match=why):
        read_keys(file)


def test_a_key_goes_to_its_server_and_not_to_the_storage() -> None:
    seen = {}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[request.url.host] = request.headers.get("authorization")
        return httpx.Response(200)

    client = client_for("http://server:8000", httpx.Client, "nf_1_x")
    client._transport = httpx.MockTransport(answer)
    client.get("/v1/models")
    client.put("http://storage:8000/part", content=b"x")
    assert seen == {"server": "Bearer nf_1_x", "storage": None}
