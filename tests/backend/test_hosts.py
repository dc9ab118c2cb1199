"""By which names a server may be asked: a page whose own name leads to this machine is none of its pages."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest

from backend.api.hosts import hosts_of
from backend.app import create_app
from backend.settings import Settings
from tests.servers import serve


def ask(settings: Settings, host: str, path: str = "/openapi.json") -> httpx.Response:
    """A request that says it is for that host."""

    async def main() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(settings))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            return await client.get(path, headers=[(b"Host", host.encode("latin-1"))])

    return asyncio.run(main())


@pytest.mark.parametrize(
    "host",
    ["localhost", "LocalHost:8000", "localhost.", "127.0.0.1", "127.0.0.1:65535", "[::1]:8000", "[::1]",
     "172.18.0.4:8000", "[fd00::1]:8000"],
)  # fmt: skip
def test_this_machines_own_names_are_known_and_any_address(tmp_path: Path, host: str) -> None:
    assert ask(Settings(models_dir=tmp_path), host).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "localhost:8000@evil.example", "127.0.0.1.nip.io",
     "localhost:8000:9", "[::1", "::1", "", " ", "\xff", "localhost/", "x" * 9000],
)  # fmt: skip
def test_any_other_is_refused_in_words(tmp_path: Path, host: str) -> None:
    refused = ask(Settings(models_dir=tmp_path), host)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (421, "unknown_host") and "NINEFOLD_HOSTS" in error["message"]
    assert len(error["message"]) < 600 and refused.headers["x-request-id"]
    assert isinstance(ask(Settings(models_dir=tmp_path), host, "/v2").json()["error"], str)


def test_names_can_be_added(tmp_path: Path) -> None:
    named = Settings(models_dir=tmp_path, hosts=" Ninefold.Example:8443, box.local. , fd00::1")
    assert [ask(named, host).status_code for host in ("ninefold.example:8443", "BOX.local", "localhost")] == [200] * 3
    assert ask(named, "other.example").status_code == 421
    assert ask(Settings(models_dir=tmp_path, hosts="*"), "other.example").status_code == 200


def test_one_that_listens_everywhere_takes_all_until_names_are_named(tmp_path: Path) -> None:
    for everywhere in ("0.0.0.0", "::", "::0"):
        assert ask(Settings(models_dir=tmp_path, host=everywhere), "backend:8000").status_code == 200
        named = Settings(models_dir=tmp_path, host=everywhere, hosts="backend")
        assert [ask(named, host).status_code for host in ("backend:8000", "127.0.0.1:8000")] == [200] * 2
        assert ask(named, "evil.example").status_code == 421
    assert hosts_of("box.local", []) == {"localhost", "box.local"}


def test_over_sockets_websockets_too_and_who_names_no_host_is_no_browser(models_dir: Path) -> None:
    with serve(models_dir, threads=1) as server:
        port = int(server.url.rpartition(":")[2])
        upgrade = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        headers = {**upgrade, "Sec-WebSocket-Key": "c2l4dGVlbiBieXRlcyEhIQ==", "Host": f"evil.example:{port}"}
        refused = httpx.get(f"{server.url}/v1/live", headers=headers)
        assert (refused.status_code, refused.json()["error"]["code"]) == (421, "unknown_host")

        async def bare() -> bytes:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /readyz HTTP/1.0\r\n\r\n")  # as the proxy asks
            answer = await reader.read()
            writer.close()
            return answer

        assert b" 200 " in asyncio.run(bare()).splitlines()[0]
