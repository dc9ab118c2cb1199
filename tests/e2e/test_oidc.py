"""Sign-in by an identity provider: Streamlit's own login, before a provider that knows everybody at once."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from playwright.sync_api import Page, expect

from tests.e2e.harness import page_process
from tests.servers import free_port

pytestmark = pytest.mark.browser
CLIENT = "ninefold-page"


@dataclass
class Provider:
    """OpenID Connect as far as a login needs it. Whoever comes is `email`."""

    email: str = "ann@ours.example"
    url: str = ""
    key: RSAKey = field(default_factory=lambda: RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"}))

    def answer(self, address: str) -> tuple[int, dict[str, object] | str]:
        """(status, JSON) or (302, where to)."""
        path, query = urlsplit(address).path, parse_qs(urlsplit(address).query)
        if path == "/authorize":  # the code carries the nonce
            words = {"code": query["nonce"][0], "state": query["state"][0]}
            return 302, f"{query['redirect_uri'][0]}?{urlencode(words)}"
        if path == "/jwks":
            return 200, {"keys": [self.key.as_dict(private=False)]}
        return 200, {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/jwks",
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def token(self, code: str) -> dict[str, object]:
        """The answer to a code."""
        now = int(time.time())
        claims = {"iss": self.url, "aud": CLIENT, "sub": "1", "iat": now, "exp": now + 300, "nonce": code}
        about = {**claims, "email": self.email, "email_verified": True}
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, about, self.key)
        return {"access_token": "x", "token_type": "Bearer", "expires_in": 300, "id_token": signed}


@contextmanager
def serving(provider: Provider) -> Iterator[None]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._send(*provider.answer(self.path))

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
            self._send(200, provider.token(form["code"][0]))

        def _send(self, status: int, body: dict[str, object] | str) -> None:
            data = b"" if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            if isinstance(body, str):
                self.send_header("Location", body)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{http.server_port}"
    Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield
    http.shutdown()
    http.server_close()


def secrets(address: str, provider: Provider) -> str:
    return (
        f'[auth]\nredirect_uri = "{address}/oauth2callback"\ncookie_secret = "{"x" * 32}"\nclient_id = "{CLIENT}"\n'
        f'client_secret = "secret"\nserver_metadata_url = "{provider.url}/.well-known/openid-configuration"\n'
    )


def test_members_are_let_in_by_their_provider_and_strangers_are_not(
    page: Page, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, provider = tmp_path / "secrets.toml", Provider()
    monkeypatch.setenv("STREAMLIT_SECRETS_FILES", str(file))
    monkeypatch.setenv("NINEFOLD_PAGE_SIGN_IN", "required")
    monkeypatch.setenv("NINEFOLD_PAGE_MEMBERS", "@ours.example")
    with serving(provider), page_process(f"http://127.0.0.1:{free_port()}") as address:
        page.goto(address)
        expect(page.get_by_text("This page needs a sign-in, and none is set up.")).to_be_visible(timeout=30_000)
        file.write_text(secrets(address, provider))
        page.goto(address)
        expect(page.locator("input[type=file]")).to_have_count(0)
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator("input[type=file]")).to_be_attached(timeout=30_000)
        page.reload()
        expect(page.locator("input[type=file]")).to_be_attached(timeout=30_000)  # a cookie remembers it
        page.get_by_role("button", name="Sign out").click()
        provider.email = "eve@others.example"
        page.get_by_role("button", name="Sign in").click()
        expect(page.get_by_text("this page is not for you")).to_be_visible(timeout=30_000)
        expect(page.locator("input[type=file]")).to_have_count(0)
