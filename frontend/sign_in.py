"""Who may see the page: everybody, whoever knows the password, or whoever an identity provider vouches for (OIDC).

OIDC, by Streamlit's own login, where its secrets have an [auth] section; else the password, where its hash is set; else
the page is open, unless it must not be (NINEFOLD_PAGE_SIGN_IN=required).
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import urlsafe_b64decode
from binascii import Error as NotBase64
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import streamlit as st

from frontend.cards import notice
from frontend.settings import Settings

__all__ = ["Attempts", "address_of", "is_allowed", "is_right", "let_in"]

_SIGNED_IN = "signed_in"
_WIDTH = 420
OF_ONE, OF_ALL = 10, 100
"""Attempts a minute: of one address, and of all together, since each takes a twentieth of a second to check."""
NOTHING_SET = (
    "This page needs a sign-in, and none is set up. Whoever runs it: set NINEFOLD_PAGE_PASSWORD_HASH to what "
    "`ninefold keys password` prints, or an [auth] section in Streamlit's secrets.toml."
)


class Attempts:
    """Counts attempts at the password, for the whole process: a new tab is no new chance."""

    def __init__(self) -> None:
        # A tenth of a second to import, which an open page need not wait.
        from limits import RateLimitItemPerMinute  # noqa: PLC0415
        from limits.storage import MemoryStorage  # noqa: PLC0415
        from limits.strategies import FixedWindowRateLimiter  # noqa: PLC0415

        self._of_one, self._of_all = RateLimitItemPerMinute(OF_ONE), RateLimitItemPerMinute(OF_ALL)
        self._window = FixedWindowRateLimiter(MemoryStorage())

    def allows(self, address: str) -> bool:
        """Whether one more may be made from there."""
        return self._window.hit(self._of_one, address) and self._window.hit(self._of_all)


@cache
def _attempts() -> Attempts:
    return Attempts()


def let_in(settings: Settings) -> None:
    """Returns for whoever may see the page. For anybody else it draws the sign-in, and ends the run."""
    if _has_oidc():
        _by_provider(settings)
    elif settings.password_hash:
        _by_password(settings.password_hash)
    elif settings.sign_in_required:
        _head()
        _stop(NOTHING_SET)


def _by_provider(settings: Settings) -> None:
    if not st.user.is_logged_in:
        _head()
        st.button("Sign in", key="sign-in", type="primary", on_click=st.login)
        st.stop()
    if not is_allowed(settings.members, dict(st.user)):
        st.button("Sign out", key="sign-out", on_click=st.logout)
        _stop("You are signed in, but this page is not for you. Whoever runs it: NINEFOLD_PAGE_MEMBERS says for whom.")
    _way_out(st.logout)


def _by_password(expected: str) -> None:
    if st.session_state.get(_SIGNED_IN) == expected:
        _way_out(_forget)
        return
    _head()
    with st.form("sign-in-form", width=_WIDTH, enter_to_submit=True):
        given = st.text_input("Password", type="password", key="password", autocomplete="current-password")
        asked = st.form_submit_button("Sign in", key="sign-in", type="primary")
    if asked:
        _try(given, expected)
    st.stop()


def _forget() -> None:
    st.session_state.clear()  # with the pictures: who signs in next in this tab is someone else


def _try(given: str, expected: str) -> None:
    if not _attempts().allows(_address()):
        _stop("Too many attempts. Wait a minute, then try again.")
    try:
        right = is_right(given, expected)
    except ValueError as error:
        _stop(str(error))
    if right:
        # The hash, not a yes: another password ends the sessions that began with the former.
        st.session_state[_SIGNED_IN] = expected
        st.rerun()
    else:
        with st.container(width=_WIDTH):
            st.html(notice("This is not the password. Try again, or ask whoever runs this page.", "stop"))


def _way_out(leave: Callable[[], None]) -> None:
    with st.container(key="way-out", horizontal=True, horizontal_alignment="right"):
        st.button("Sign out", key="sign-out", type="tertiary", on_click=leave)


def _head() -> None:
    st.html("<h1 class='nf-head'>Sign in</h1>")


def _stop(words: str) -> None:
    st.html(notice(words, "stop"))
    st.stop()


def is_right(given: str, expected: str) -> bool:
    """Whether `given` is the password of the hash scrypt:N:R:P:SALT:DIGEST (both in base64). Raises ValueError."""
    try:
        kind, *numbers, salt, digest = expected.split(":")
        n, r, p = map(int, numbers)
        known = urlsafe_b64decode(digest)
        if kind != "scrypt" or len(known) < 32:
            raise ValueError("it is no hash of scrypt")
        found = hashlib.scrypt(given.encode(), salt=urlsafe_b64decode(salt), n=n, r=r, p=p, dklen=len(known))
    except (ValueError, NotBase64) as error:
        raise ValueError(f"NINEFOLD_PAGE_PASSWORD_HASH is not what `ninefold keys password` prints: {error}") from error
    return hmac.compare_digest(found, known)


def is_allowed(members: Iterable[str], person: Mapping[str, Any]) -> bool:
    """Whether the provider's word for a person names a member: an address, or `@` and its domain. No members: all."""
    wanted = [member.lower() for member in members]
    if not wanted:
        return True
    address = str(person.get("email") or "").lower()
    verified = person.get("email_verified") in (True, "true")  # without that word a tenant may have made it up
    return bool(address) and verified and (address in wanted or f"@{address.rpartition('@')[2]}" in wanted)


def _has_oidc() -> bool:
    if st.secrets.load_if_toml_exists():
        return "auth" in st.secrets
    if any(Path(path).exists() for path in st.get_option("secrets.files")):  # there, and damaged
        _head()
        _stop("Streamlit's secrets cannot be read, so nobody can sign in. Whoever runs this page: its log says why.")
    return False


def address_of(forwarded: Sequence[str], connection: str | None) -> str:
    """Where a person is: as the proxy in front says it last (the rest anybody can make up), else as the connection."""
    return forwarded[-1].rpartition(",")[2].strip() if forwarded else str(connection)


def _address() -> str:
    return address_of(st.context.headers.get_all("X-Forwarded-For"), st.context.ip_address)
