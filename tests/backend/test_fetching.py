"""Every trick against a server that fetches addresses, each a case: nothing but the public internet is connected to."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpcore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.addresses import is_public
from backend.fetching import Fetcher, checked
from backend.guard import Guard, SystemResolver
from contract.transform import BadImage
from tests import pictures
from tests.servers import serve

PORTS = frozenset({80, 443})
PUBLIC, SECOND = "93.184.216.34", "2606:2800:220:1::1"
NAMES = {"pictures.example": [PUBLIC], "both.example": [SECOND, PUBLIC], "xn--bcher-kva.example": [PUBLIC]}
PICTURE = pictures.jpeg((64, 64))
MACHINE = SystemResolver(1)


@dataclass
class Names:
    """A name server: its answers in turn, the last one for good. Numbers are answered as the machine would."""

    answers: dict[str, list[list[str]]]
    asked: list[str] = field(default_factory=list)

    async def __call__(self, host: str) -> list[str]:
        self.asked.append(host)
        if host == "slow.example":
            await asyncio.sleep(100)
        if host in self.answers:
            turns = self.answers[host]
            return turns.pop(0) if len(turns) > 1 else turns[0]
        return await MACHINE(host) if host[:1].isdigit() or ":" in host or host == "localhost" else []


class Wire(httpcore.AnyIOBackend):
    """The internet: every public address is the test's own server. What was connected to is kept."""

    def __init__(self, port: int, down: Iterable[str] = (), silent: Iterable[str] = ()) -> None:
        self._port = port
        self._down = frozenset(down)
        self._silent = frozenset(silent)
        self.connected: list[tuple[str, int]] = []

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # httpcore's signature
        *args: object,
        **kwargs: object,
    ) -> httpcore.AsyncNetworkStream:
        self.connected.append((host, port))
        assert is_public(host)
        if host in self._down:
            raise httpcore.ConnectError("down")
        if host in self._silent:  # as one that drops what it is sent
            await asyncio.sleep(100 if timeout is None else timeout)
            raise httpcore.ConnectTimeout("silent")
        return await super().connect_tcp("127.0.0.1", self._port)


@dataclass
class Internet:
    """A server that answers each path with these bytes, the fetcher, and what came and went."""

    fetcher: Fetcher
    wire: Wire
    names: Names
    heads: list[str]

    async def get(self, url: str) -> bytes:
        got = bytearray()

        async def take(piece: bytes) -> None:
            got.extend(piece)

        await self.fetcher.fetch(url, take)
        return bytes(got)


def answer(body: bytes = PICTURE, status: str = "200 OK", kind: str = "image/jpeg", **headers: str) -> bytes:
    lines = {"content-type": kind, "content-length": str(len(body))} | {
        k.replace("_", "-"): v for k, v in headers.items()
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def redirect(to: str) -> bytes:
    return answer(b"secret", "302 Found", "text/plain", location=to)


def on_the_internet(
    test: Callable[[Internet], Awaitable[None]],
    pages: dict[str, bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]] | None = None,
    names: dict[str, list[list[str]]] | None = None,
    *,
    seconds: float = 20,
    down: Iterable[str] = (),
    silent: Iterable[str] = (),
    tls: tuple[ssl.SSLContext, ssl.SSLContext] | None = None,
) -> None:
    heads: list[str] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            page = (pages or {}).get(heads[-1].split()[1], answer())
            if isinstance(page, bytes):
                writer.write(page)
                await writer.drain()
            else:
                await page(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        server = await asyncio.start_server(serve_one, "127.0.0.1", 0, ssl=tls[0] if tls else None)
        wire = Wire(server.sockets[0].getsockname()[1], down, silent)
        found = Names({name: [addresses] for name, addresses in NAMES.items()} | (names or {}))
        fetcher = Fetcher(
            Guard(found, wire), ports=PORTS, seconds=seconds, max_bytes=100_000, at_once=2, tls=tls[1] if tls else None
        )
        async with server, asyncio.timeout(30):
            await test(Internet(fetcher, wire, found, heads))

    asyncio.run(main())


def refused(url: str, code: str, *, reached: bool = False, **how: object) -> str:
    """The words of the refusal; unless a public server may be `reached`, nothing was connected to."""
    words = []

    async def test(internet: Internet) -> None:
        with pytest.raises(BadImage) as raised:
            await internet.get(url)
        assert raised.value.code == code and raised.value.message.endswith(".")
        assert bool(internet.wire.connected) == reached
        words.append(raised.value.message)

    on_the_internet(test, **how)  # type: ignore[arg-type]
    return words[0]


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("http://pictures.example/a.jpg?b=c#d", "pictures.example", "/a.jpg?b=c"),
        ("HTTP://PICTURES.EXAMPLE", "pictures.example", "/"),
        ("http://pictures.example:80/", "pictures.example", "/"),
        ("http://bücher.example/ä", "xn--bcher-kva.example", "/%C3%A4"),
        ("http://93.184.216.34/", "93.184.216.34", "/"),
        (f"http://[{SECOND}]/", f"[{SECOND}]", "/"),
        ("http://pictures.example:443/", "pictures.example:443", "/"),
    ],
)
def test_a_picture_is_fetched_from_the_address_that_was_checked(url: str, host: str, path: str) -> None:
    async def test(internet: Internet) -> None:
        assert await internet.get(url) == PICTURE
        (head,) = internet.heads
        assert head.startswith(f"GET {path} HTTP/1.1\r\n") and f"\r\nhost: {host}\r\n" in head.lower()
        ((connected, _),) = internet.wire.connected
        assert connected in (PUBLIC, SECOND) and len(internet.names.asked) == 1

    on_the_internet(test)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.255.255.254/", "http://10.0.0.1/", "http://172.16.0.1/", "http://192.168.0.1/",
        "http://169.254.169.254/latest/meta-data/", "http://100.100.100.200/", "http://[fe80::1]/", "http://[fc00::1]/",
        "http://[::FFFF:10.0.0.1]/", "http://[0:0:0:0:0:ffff:a9fe:a9fe]/", "http://[::ffff:0:127.0.0.1]/",
        "http://168.63.129.16/", "http://0.0.0.0/", "http://[::]/", "http://[::1]/", "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
        "http://[fd00:ec2::254]/", "http://localhost/", "http://LOCALHOST/", "http://127。0。0。1/", "http://nowhere.example/",
        "http://224.0.0.1/", "http://255.255.255.255/",
    ],
)  # fmt: skip
def test_what_is_not_public_is_not_connected_to(url: str) -> None:
    """In the same words, whether there is such a name inside or not."""
    assert refused(url, "fetch_not_public") == "The address does not lead to a server on the public internet."


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/", "http://0x7f000001/", "http://017700000001/", "http://127.1/", "http://0177.0.0.1/",
        "http://0x7f.0.0.1/", "http://0x7f.1/", "http://0177.1/", "http://10.1/", "http://1.0x7f/", "http://0/",
        "http://127.0.0.01/", "http://127.0.0.1.1/", "http://256.1.1.1/", "http://[::ffff:0x7f.1]/",
        "http://[127.0.0.1]/", "http://127.0.0.1./", "http://localhost./", "http://localhost../",
        "http://127.0.0.1%2f.pictures.example/", "http://127%2e0%2e0%2e1/", "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/",
        "http://１２７.0.0.1/", "http:///etc/passwd", "http://", "http:pictures.example", "http://[::1", "http://a b/",
        "http://pictures.example\r\nhost: inside/", "http://" + "a" * 3000, "http://a_b.example",
        "http://pictures.example\\.inside/",
    ],
)  # fmt: skip
def test_disguises_are_no_addresses(url: str) -> None:
    refused(url, "fetch_bad_url")


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("file:///etc/passwd", "fetch_scheme"),
        ("gopher://pictures.example/_x", "fetch_scheme"),
        ("ftp://pictures.example/", "fetch_scheme"),
        ("data:image/png;base64,QQ==", "fetch_scheme"),
        ("//pictures.example/", "fetch_scheme"),
        ("", "fetch_scheme"),
        ("http://user:secret@pictures.example/", "fetch_credentials"),
        ("http://pictures.example@127.0.0.1/", "fetch_credentials"),
        ("http://@127.0.0.1/", "fetch_not_public"),
        ("http://pictures.example:99999/", "fetch_port"),
        ("http://[fe80::1%25eth0]/", "fetch_not_public"),
        ("http://pictures.example\\@127.0.0.1/", "fetch_credentials"),
        ("http://pictures.example:22/", "fetch_port"),
        ("http://pictures.example:0/", "fetch_port"),
        ("https://pictures.example:6379/", "fetch_port"),
    ],
)
def test_addresses_of_the_wrong_kind(url: str, code: str) -> None:
    refused(url, code)


@pytest.mark.parametrize(
    "inside",
    [["127.0.0.1"], [PUBLIC, "10.0.0.1"], ["fd00:ec2::254", PUBLIC], ["::ffff:169.254.169.254"], ["nonsense"], []],
)
def test_a_name_that_leads_inside_even_with_one_of_its_addresses(inside: list[str]) -> None:
    refused("http://evil.example/", "fetch_not_public", names={"evil.example": [inside]})


def test_a_name_that_changes_its_mind_is_asked_once() -> None:
    """Rebinding: the second answer would lead inside; there is no second question."""

    async def test(internet: Internet) -> None:
        assert await internet.get("http://evil.example/") == PICTURE
        assert internet.names.asked == ["evil.example"] and internet.wire.connected == [(PUBLIC, 80)]
        with pytest.raises(BadImage, match="public internet"):  # of another fetch, another question
            await internet.get("http://evil.example/")
        assert len(internet.wire.connected) == 1

    on_the_internet(test, names={"evil.example": [[PUBLIC], ["127.0.0.1"]]})


def test_a_redirect_is_a_new_question() -> None:
    """The same name again, which leads inside by now."""
    pages = {"/": redirect("/next")}
    names = {"evil.example": [[PUBLIC], ["127.0.0.1"]]}
    refused("http://evil.example/", "fetch_not_public", reached=True, pages=pages, names=names)


@pytest.mark.parametrize(
    ("to", "code"),
    [
        ("http://127.0.0.1/", "fetch_not_public"),
        ("http://169.254.169.254/latest", "fetch_not_public"),
        ("//localhost/", "fetch_not_public"),
        ("http://[::ffff:127.0.0.1]/", "fetch_not_public"),
        ("http://2130706433/", "fetch_bad_url"),
        ("http://[/", "fetch_bad_url"),
        ("file:///etc/passwd", "fetch_scheme"),
        ("gopher://127.0.0.1/", "fetch_scheme"),
        ("http://user@pictures.example/", "fetch_credentials"),
        ("http://pictures.example:8000/", "fetch_port"),
        ("/", "fetch_redirects"),
    ],
)
def test_every_redirect_is_checked_again(to: str, code: str) -> None:
    assert "secret" not in refused("http://pictures.example/", code, reached=True, pages={"/": redirect(to)})


def test_three_redirects_are_followed() -> None:
    pages = {"/0": redirect("/1"), "/1": redirect("http://both.example/2"), "/2": redirect("3"), "/3": answer()}

    async def test(internet: Internet) -> None:
        assert await internet.get("http://pictures.example/0") == PICTURE
        assert len(internet.names.asked) == len(internet.wire.connected) == 4
        pages["/3"] = redirect("/4")
        with pytest.raises(BadImage, match="3 times"):
            await internet.get("http://pictures.example/0")

    on_the_internet(test, pages)  # type: ignore[arg-type]


def test_another_address_of_the_same_name_where_one_is_down() -> None:
    async def test(internet: Internet) -> None:
        assert await internet.get("http://both.example/") == PICTURE
        assert [host for host, _ in internet.wire.connected] == [SECOND, PUBLIC] and len(internet.names.asked) == 1

    on_the_internet(test, down=[SECOND])
    refused("http://both.example/", "fetch_failed", reached=True, down=[SECOND, PUBLIC])


def test_another_address_of_the_same_name_where_one_says_nothing() -> None:
    """One that drops what it is sent does not eat the time of the others."""

    async def test(internet: Internet) -> None:
        assert await internet.get("http://both.example/") == PICTURE
        assert [host for host, _ in internet.wire.connected] == [SECOND, PUBLIC]

    on_the_internet(test, silent=[SECOND], seconds=4)
    refused("http://both.example/", "fetch_failed", reached=True, silent=[SECOND, PUBLIC], seconds=1)


@pytest.mark.parametrize(
    ("page", "code"),
    [
        (answer(b"secret", "404 Not Found"), "fetch_status"),
        (answer(b"secret", "500 secret"), "fetch_status"),
        (answer(b"secret", "302 Found"), "fetch_status"),
        (answer(b"secret", "206 Partial Content"), "fetch_status"),
        (answer(b"secret", kind="text/html"), "fetch_type"),
        (answer(b"secret", kind="application/json"), "fetch_type"),
        (answer(b"secret", kind=""), "fetch_type"),
        (answer(content_encoding="gzip"), "fetch_type"),
        (answer(bytes(100_001)), "fetch_too_large"),
        (answer(content_length="100001"), "fetch_too_large"),
        (b"SSH-2.0-secret\r\n", "fetch_failed"),
        (b"", "fetch_failed"),
        (answer(content_length="9999"), "fetch_failed"),
    ],
    ids=["404", "500", "302", "206", "html", "json", "none", "gzip", "huge", "announced", "ssh", "nothing", "cut"],
)
def test_answers_that_are_no_picture_are_not_passed_on(page: bytes, code: str) -> None:
    assert "secret" not in refused("http://pictures.example/", code, reached=True, pages={"/": page})


def test_octets_of_any_kind_may_be_a_picture() -> None:
    async def test(internet: Internet) -> None:
        for path in ("/a", "/b", "/c"):
            assert await internet.get(f"http://pictures.example{path}") == PICTURE

    kinds = ["application/octet-stream", "binary/octet-stream", "Image/PNG; q=1"]
    on_the_internet(test, {path: answer(kind=kind) for path, kind in zip(["/a", "/b", "/c"], kinds, strict=True)})


def test_a_body_without_end_is_given_up_as_soon_as_it_is_too_large() -> None:
    sent = 0

    async def endless(writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\n")
        while sent < 500_000_000:
            writer.write(bytes(50_000))
            await writer.drain()
            sent += 50_000

    refused("http://pictures.example/", "fetch_too_large", reached=True, pages={"/": endless})
    assert sent < 100_000_000  # what the sockets' buffers took, on whatever machine


CHUNKED = b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ntransfer-encoding: chunked\r\n\r\n"


def test_pieces_of_any_reasonable_size_are_a_picture() -> None:
    chunks = b"".join(b"1\r\n" + PICTURE[at : at + 1] + b"\r\n" for at in range(1000))
    rest = PICTURE[1000:]

    async def test(internet: Internet) -> None:
        assert await internet.get("http://pictures.example/") == PICTURE

    on_the_internet(test, {"/": CHUNKED + chunks + f"{len(rest):x}\r\n".encode() + rest + b"\r\n0\r\n\r\n"})
    early = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    on_the_internet(test, {"/": early + b"HTTP/1.1 100 Continue\r\n\r\n" + answer()})


@pytest.mark.parametrize(
    "page",
    [
        CHUNKED + b"1\r\nx\r\n" * 30_000 + b"0\r\n\r\n",
        CHUNKED + (b"8;" + b"x" * 60_000 + b"\r\n12345678\r\n") * 10 + b"0\r\n\r\n",
        b"HTTP/1.1 100 \r\n\r\n" * 30_000 + answer(),
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 30_000 + answer().split(b"\r\n", 1)[1],
    ],
    ids=["chunks of a byte", "extensions", "interim answers", "headers"],
)
def test_an_answer_that_is_work_and_no_picture_is_given_up(page: bytes) -> None:
    """A few bytes of each of these are an event of the parser: a picture's worth of them would be minutes."""
    refused("http://pictures.example/", "fetch_failed", reached=True, pages={"/": page})


def test_others_work_while_small_pieces_arrive() -> None:
    """Out of the parser's buffer they come without a pause; somebody else's turn comes all the same."""
    turns = 0

    class Response:
        async def aiter_stream(self) -> AsyncIterator[bytes]:
            for _ in range(1000):
                yield b"x"

    async def others() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async def test(internet: Internet) -> None:
        taken = []

        async def take(piece: bytes) -> None:
            taken.append(piece)

        waiting = asyncio.create_task(others())
        await asyncio.sleep(0)
        before = turns
        await internet.fetcher._receive(Response(), take)  # type: ignore[arg-type]
        waiting.cancel()
        assert b"".join(taken) == b"x" * 1000 and len(taken) < 10 <= turns - before

    on_the_internet(test)


@pytest.mark.parametrize("piece", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\nx", b""])
def test_a_server_that_takes_its_time_does_not_get_it(piece: bytes) -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        writer.write(piece)
        while True:
            await asyncio.sleep(0.02)
            writer.write(b"x" if piece[-1:] == b"x" else b"")
            await writer.drain()

    words = refused("http://pictures.example/", "fetch_slow", reached=True, pages={"/": slow}, seconds=0.3)
    assert "0.3 s" in words


def test_a_name_server_that_takes_its_time_does_not_get_it_either() -> None:
    refused("http://slow.example/", "fetch_slow", seconds=0.3)
    pages = {"/": redirect("http://slow.example/")}
    refused("http://pictures.example/", "fetch_slow", reached=True, pages=pages, seconds=1)


def test_no_more_than_so_many_at_once() -> None:
    most = now = 0

    async def counted(writer: asyncio.StreamWriter) -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        writer.write(answer())
        await writer.drain()
        now -= 1

    async def test(internet: Internet) -> None:
        got = await asyncio.gather(*(internet.get("http://pictures.example/") for _ in range(6)))
        assert got == [PICTURE] * 6 and most == 2

    on_the_internet(test, {"/": counted})


def test_https_is_asked_for_the_name_and_its_certificate_is_checked(tmp_path: Path) -> None:
    mine, theirs = contexts(tmp_path, "pictures.example")
    seen: list[str | None] = []
    mine.sni_callback = lambda _socket, name, _context: seen.append(name)

    async def test(internet: Internet) -> None:
        assert await internet.get("https://pictures.example/") == PICTURE
        assert seen == ["pictures.example"] and internet.wire.connected == [(PUBLIC, 443)]
        with pytest.raises(BadImage) as raised:  # the certificate is another's
            await internet.get("https://both.example/")
        assert raised.value.code == "fetch_failed"

    on_the_internet(test, tls=(mine, theirs))


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\n\r\nx"], ids=["head", "body"])
def test_tls_that_breaks_in_mid_answer_is_that_servers_fault(tmp_path: Path, start: bytes) -> None:
    async def broken(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        await writer.drain()
        os.write(writer.get_extra_info("socket").fileno(), b"\x17\x03\x03\x00\x20" + bytes(32))

    tls = contexts(tmp_path, "pictures.example")
    refused("https://pictures.example/", "fetch_failed", reached=True, pages={"/": broken}, tls=tls)


@pytest.mark.parametrize(("records", "code"), [(100, None), (5000, "fetch_failed")])
def test_tls_in_records_of_a_byte(tmp_path: Path, records: int, code: str | None) -> None:
    """Each of them is a read: a header of thousands would be seconds of work."""

    async def dribble(writer: asyncio.StreamWriter) -> None:
        head = b"HTTP/1.1 200 OK\r\nx: ".ljust(records, b"x") + b"\r\n" + answer().split(b"\r\n", 1)[1]
        for at in range(records):
            writer.write(head[at : at + 1])
        writer.write(head[records:])
        await writer.drain()

    async def test(internet: Internet) -> None:
        assert await internet.get("https://pictures.example/") == PICTURE

    tls = contexts(tmp_path, "pictures.example")
    if code:
        refused("https://pictures.example/", code, reached=True, pages={"/": dribble}, tls=tls)
    else:
        on_the_internet(test, {"/": dribble}, tls=tls)


def contexts(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's, with a certificate for `name`; a client's, which trusts it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, who = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), 1, now - timedelta(1), now + timedelta(1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "cert.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "key.pem").write_bytes(secret)
    mine = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    mine.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return mine, ssl.create_default_context(cafile=str(folder / "cert.pem"))


@pytest.mark.parametrize(
    "address",
    [
        "0.1.2.3", "10.1.2.3", "100.64.0.1", "127.1.2.3", "169.254.169.254", "172.31.0.1", "192.0.0.192",
        "192.0.2.1", "192.88.99.1", "192.168.1.1", "198.19.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.251",
        "239.1.1.1", "240.0.0.1", "255.255.255.255", "168.63.129.16", "::", "::1", "::ffff:8.8.8.8",
        "::8.8.8.8", "64:ff9b::808:808", "64:ff9b:1::1", "100::1", "2001::1", "2001:db8::1", "2002:808:808::1",
        "3fff::1", "fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "ff0e::1",
        "4000::1", "", "x", "1.2.3", "0x7f000001", "010.8.8.8",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", PUBLIC, "172.32.0.1", SECOND, "2a00:1450:4001::1", "2003::1"])
def test_addresses_that_are(address: str) -> None:
    assert is_public(address)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60).map(lambda text: f"http://{text}") | st.text(max_size=60))
def test_any_text_is_an_address_that_may_be_asked_or_refused_in_words(text: str) -> None:
    try:
        target = checked(text, PORTS)
    except BadImage:
        pass
    else:
        assert target.scheme in ("http", "https") and target.raw_host.isascii() and b"@" not in target.netloc


def test_the_machines_resolver_and_a_server_that_may_fetch(models_dir: Path) -> None:
    """From the setting to the row, with nothing faked: loopback is refused, though a server is there."""
    with serve(models_dir, threads=1, model="resnet18-seeded", fetch_urls=True, fetch_ports="80,443,8000") as server:
        port = server.url.rsplit(":", 1)[1]
        sent = ["http://localhost/", "http://127.0.0.1:8000/readyz", f"{server.url}/", "file:///etc/passwd"]
        rows = server.client.post("/v1/predict", json={"images": [{"url": url} for url in sent]}).json()["results"]
        codes = [row["error"]["code"] for row in rows]
        assert codes == ["fetch_not_public", "fetch_not_public", "fetch_port", "fetch_scheme"] and port not in codes
        assert server.metric('ninefold_images_total{outcome="fetch_not_public"}') == 2


def test_a_fetched_picture_is_answered_beside_one_that_was_not_to_be_had(models_dir: Path) -> None:
    async def fetch(url: str, take: Callable[[bytes], Awaitable[None]]) -> None:
        if "bad" in url:
            raise BadImage("fetch_slow", "It was not there.")
        data = pictures.sample("koala.jpg") + bytes(400_000)  # enough to go to disk
        for start in range(0, len(data), 50_000):
            await take(data[start : start + 50_000])

    with serve(models_dir, threads=1) as server:
        assert server.app is not None
        server.app.state.fetch = fetch
        images = [{"url": "http://x.example/koala.jpg"}, {"url": "http://bad.example/?a/b"}]
        good, bad = server.client.post("/v1/predict", json={"images": images}).json()["results"]
        assert good["name"] == "koala.jpg" and good["predictions"][0]["label"] == "koala"
        assert (bad["name"], bad["error"]["code"]) == ("image 2", "fetch_slow")
