"""Who may see the page: open, by a password, by a provider's word; and what the browser is handed for the API."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest
from typer.testing import CliRunner

from cli.main import app as command_line
from frontend import sign_in
from frontend.api import Api, VariantName
from frontend.batches import Batches
from frontend.settings import Settings
from frontend.sign_in import Attempts, address_of, is_allowed, is_right
from frontend.tokens import FRESH_SECONDS, Token, Tokens
from tests.frontend.fake_server import FakeServer, Reply

APP = Path(__file__).parents[2] / "frontend" / "app.py"
PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def hashed() -> str:
    made = CliRunner().invoke(command_line, ["keys", "password"], input=f"{PASSWORD}\n")
    assert made.exit_code == 0, made.stderr
    return made.stdout.strip()


@pytest.fixture
def page(server: FakeServer, monkeypatch: pytest.MonkeyPatch, hashed: str) -> AppTest:
    sign_in._attempts.cache_clear()
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    monkeypatch.setenv("NINEFOLD_PAGE_PASSWORD_HASH", hashed)
    return AppTest.from_file(str(APP), default_timeout=20).run()


def words(page: AppTest) -> str:
    assert not page.exception
    return "\n".join(element.proto.body for element in page.get("html") if "<style>" not in element.proto.body)


def attempt(page: AppTest, password: str) -> AppTest:
    page.text_input(key="password").set_value(password)
    return page.button(key="sign-in").click().run()


def test_the_command_lines_hash_is_the_pages(hashed: str) -> None:
    assert is_right(PASSWORD, hashed) and not is_right(f"{PASSWORD} ", hashed) and not is_right("", hashed)
    assert PASSWORD not in hashed and "$" not in hashed and hashed.isascii()
    assert CliRunner().invoke(command_line, ["keys", "password"], input="short\n").exit_code == 2


@pytest.mark.parametrize(
    "damaged", ["x", "scrypt:16384:8:1:c2FsdA==:", "scrypt:16384:8:1:c2FsdA==:c2hvcnQ=", "md5:1:1:1:a:b"]
)
def test_a_damaged_hash_lets_nobody_in(damaged: str) -> None:
    with pytest.raises(ValueError, match="ninefold keys password"):
        is_right("", damaged)


def test_nothing_is_shown_and_nothing_is_asked_before_the_password(page: AppTest, server: FakeServer) -> None:
    assert "Sign in" in words(page) and "Drop pictures" not in words(page)
    assert not page.get("file_uploader")
    assert "not the password" in words(attempt(page, "wrong horse"))
    assert server.asked == []
    attempt(page, PASSWORD)
    assert "Drop pictures above" in words(page)
    page.button(key="sign-out").click().run()
    assert "Drop pictures" not in words(page)


def test_another_password_ends_the_session(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    attempt(page, PASSWORD)
    changed = CliRunner().invoke(command_line, ["keys", "password"], input="another horse\n").stdout.strip()
    monkeypatch.setenv("NINEFOLD_PAGE_PASSWORD_HASH", changed)
    assert "Drop pictures" not in words(page.run())


def test_the_attempts_are_counted_over_all_sessions(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sign_in, "_address", lambda: "10.0.0.1")
    for _ in range(sign_in.OF_ONE):
        assert "not the password" in words(attempt(page, "wrong horse"))
    again = AppTest.from_file(str(APP), default_timeout=20).run()
    assert "Too many attempts" in words(attempt(again, PASSWORD))
    assert address_of(["1.1.1.1, 2.2.2.2", "3.3.3.3,10.0.0.9"], None) == "10.0.0.9" and address_of([], "::2") == "::2"
    many = Attempts()
    assert [many.allows(f"10.0.0.{n}") for n in range(sign_in.OF_ALL + 1)] == [True] * sign_in.OF_ALL + [False]


def test_a_page_that_must_not_be_open_says_what_to_set(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    for value in ("required", "Required", "yes"):  # a slip of the pen must not open it
        monkeypatch.setenv("NINEFOLD_PAGE_SIGN_IN", value)
        shown = words(AppTest.from_file(str(APP), default_timeout=20).run())
        assert "NINEFOLD_PAGE_PASSWORD_HASH" in shown and "Drop pictures" not in shown
    monkeypatch.setenv("NINEFOLD_PAGE_SIGN_IN", "optional")
    assert "Drop pictures" in words(AppTest.from_file(str(APP), default_timeout=20).run())


@pytest.mark.parametrize(
    ("members", "person", "allowed"),
    [
        ((), {}, True),
        (("a@x.org",), {"email": "A@X.org", "email_verified": True}, True),
        (("@x.org",), {"email": "b@x.org", "email_verified": "true"}, True),
        (("@x.org",), {"email": "b@x.org"}, False),
        (("@x.org",), {"email": "b@evil.x.org", "email_verified": True}, False),
        (("@x.org",), {"email": "b@x.org@evil.org", "email_verified": True}, False),
        (("@x.org",), {"email": "b@x.org", "email_verified": False}, False),
        (("a@x.org",), {"email": "b@x.org", "email_verified": True}, False),
        (("@x.org",), {}, False),
        (("@",), {}, False),
    ],
)
def test_of_those_whom_the_provider_knows_members_are_let_in(
    members: tuple[str, ...], person: dict[str, object], allowed: bool
) -> None:
    assert is_allowed(members, person) is allowed


def test_settings_keep_their_secrets_to_themselves() -> None:
    read = Settings.read(
        {
            "NINEFOLD_API_KEY": " nf_1_x ",
            "NINEFOLD_PAGE_PASSWORD_HASH": "h",
            "NINEFOLD_PAGE_MEMBERS": "a@x.org, @y.org,",
        }
    )
    assert (read.api_key, read.password_hash, read.members) == ("nf_1_x", "h", ("a@x.org", "@y.org"))
    assert "nf_1_x" not in repr(read) and "'h'" not in repr(read)


def test_a_server_that_wants_another_key_is_not_called_away(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = Reply(401, {"error": {"code": "unauthorized", "message": "Send a key."}})
    server.prepared["/v1/models"] = [refusal] * 9
    assert Api(server.url).look().state == "locked"
    monkeypatch.setenv("NINEFOLD_API_URL", server.url)
    assert "NINEFOLD_API_KEY" in words(AppTest.from_file(str(APP), default_timeout=20).run())


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def issued(number: int, batch: str) -> Reply:
    return Reply(201, {"token": f"t{number}", "expires_at": "2030-01-01T00:00:00Z", "batch": batch})


def test_tokens_are_had_by_the_key_and_kept_while_they_are_fresh(server: FakeServer) -> None:
    server.prepared["/v1/tokens"] = [issued(number, "b") for number in range(9)]
    clock = Clock()
    tokens = Tokens(Api(server.url, "nf_1_x"), clock)
    first = tokens.upload(None)
    assert (first.words, first.batch, tokens.upload(first)) == ("t0", "b", first)
    assert [tokens.results("b").words, tokens.results("c").words, tokens.results("b").words] == ["t1", "t2", "t1"]
    clock.now = FRESH_SECONDS
    assert tokens.is_over("b") and not tokens.is_over("never drawn")
    assert (tokens.upload(first).words, tokens.results("b").words) == ("t3", "t4") and not tokens.is_over("b")


AWAY, OFF = (
    Reply(status, {"error": {"code": code, "message": ""}}) for status, code in ((500, "internal"), (409, "keys_off"))
)


def test_tokens_that_are_good_still_are_kept_while_no_others_are_to_be_had(server: FakeServer) -> None:
    server.prepared["/v1/tokens"] = [issued(0, "b"), issued(1, "c"), AWAY, AWAY, issued(2, "b"), AWAY]
    clock = Clock()
    tokens = Tokens(Api(server.url, "nf_1_x"), clock)
    first = tokens.upload(None)
    assert tokens.results("c").words == "t1"
    clock.now = FRESH_SECONDS
    kept = tokens.upload(first)
    assert (kept.words, kept.batch, kept.until) == ("t0", "b", clock.now + 3) and tokens.results("c").words == "t1"
    clock.now = kept.until
    fresh = tokens.upload(kept)
    assert fresh.words == "t2"
    clock.now += 3600
    assert tokens.upload(fresh).words == "", "it is over, so it helps nobody"


def test_without_a_key_or_without_an_answer_there_are_no_tokens(server: FakeServer) -> None:
    server.prepared["/v1/tokens"] = [AWAY, OFF, issued(1, "b")]
    assert Tokens(Api(server.url)).upload(None) == Token() and len(server.prepared["/v1/tokens"]) == 3
    clock = Clock()
    tokens = Tokens(Api(server.url, "nf_1_x"), clock)
    lost = tokens.upload(None)
    assert (lost.words, lost.until) == ("", 3) and tokens.upload(lost) is lost
    clock.now = lost.until
    assert tokens.upload(lost) == Token()  # keys are off, for good


def test_links_and_images_carry_the_token_of_their_batch(server: FakeServer) -> None:
    server.prepared["/v1/tokens"] = [issued(1, "b")]
    batches = Batches(Api(server.url, "nf_1_x"), "https://public.example")
    assert batches.download("b", VariantName("m", "p"), "csv").endswith("?format=csv&model=m&precision=p&token=t1")
    assert batches.pixels("b")(3) == "https://public.example/v1/batches/b/pixels/3?token=t1"
