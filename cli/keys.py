"""`ninefold keys`: who may ask a server, and the password of its page."""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shlex
import sys
import tempfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from cli.console import err, fail, out, printable
from contract.keys import BadKeys, Keys, new_key, new_keys

app = typer.Typer(help="Make, list and revoke the keys of a server's API.", no_args_is_help=True)

KeysFile = Annotated[Path, typer.Option("--file", envvar="NINEFOLD_KEYS_FILE", help="The keys file of the server.")]
_SCRYPT = {"n": 2**14, "r": 8, "p": 1}
"""16 MB and a twentieth of a second a guess."""


@app.command("add")
def add(
    file: KeysFile,
    name: Annotated[str, typer.Option(help="Whose it is; for people.")],
    requests_per_minute: Annotated[int | None, typer.Option(min=1, help="Without it: as many as it likes.")] = None,
) -> None:
    """Add a key and print it, this once: the file keeps a hash of it alone."""
    key, presented = new_key(name, requests_per_minute)
    with _alone(file):
        keys = _read(file) if file.exists() else new_keys()
        _write(file, replace(keys, keys=(*keys.keys, key)))
    typer.echo(presented)
    err.print(f"Added {key.id} ({printable(name)}). This key is shown once.", markup=False, soft_wrap=True)


@app.command("list")
def list_keys(file: KeysFile) -> None:
    """Show the keys: ids and names, no secrets."""
    table = Table("id", "name", "created", "requests a minute")
    for key in _read(file).keys:
        table.add_row(key.id, printable(key.name), key.created, str(key.requests_per_minute or "no limit"))
    out.print(table)


@app.command("revoke")
def revoke(file: KeysFile, identity: Annotated[str, typer.Argument(metavar="ID", help="As `list` shows it.")]) -> None:
    """Take a key away. Servers notice within a second or two; its tokens end with it."""
    with _alone(file):
        keys = _read(file)
        rest = tuple(key for key in keys.keys if key.id != identity)
        if len(rest) == len(keys.keys):
            fail(f"{file} has no key {printable(identity)}")
        if not rest:
            fail(f"{identity} is the only key in {file}, and a server takes no file without any. Add another first")
        _write(file, replace(keys, keys=rest))
    err.print(f"Revoked {identity}.", markup=False)


@app.command("password")
def password() -> None:
    """Print the hash of a password, for NINEFOLD_PAGE_PASSWORD_HASH. It is asked for, or read from a pipe."""
    if sys.stdin.isatty():
        chosen = typer.prompt("Password", hide_input=True, confirmation_prompt=True, err=True)
    else:
        chosen = sys.stdin.readline().rstrip("\r\n")
    if len(chosen) < 8:
        fail("the password needs eight characters or more")
    salt = secrets.token_bytes(16)
    digest = hashlib.scrypt(chosen.encode(), salt=salt, **_SCRYPT)
    # No dollar signs, as others write it: Compose would take them for variables.
    parts = [str(number) for number in _SCRYPT.values()] + [urlsafe_b64encode(part).decode() for part in (salt, digest)]
    typer.echo(":".join(["scrypt", *parts]))


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Of two who change it, one waits."""
    place = file.resolve().parent
    try:
        folder = os.open(place, os.O_RDONLY)
    except FileNotFoundError:
        fail(f"there is no folder {place} for {file.name}; this makes it: mkdir -p {shlex.quote(str(place))}")
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _read(file: Path) -> Keys:
    try:
        return Keys.decode(file.read_bytes())
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror}. `ninefold keys add` makes it")
    except BadKeys as bad:
        fail(f"{file} cannot be used: {bad}")


def _write(file: Path, keys: Keys) -> None:
    """In one step, for its owner alone; an existing file keeps its owner and readers: a container's user is one."""
    file = file.resolve()  # a link stays one
    try:
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")  # for its owner alone
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as opened:
                opened.write(keys.encode())
                opened.flush()
                os.fsync(opened.fileno())
            if file.exists():
                found = file.stat()
                os.chown(temporary, found.st_uid, found.st_gid)
                temporary.chmod(found.st_mode & 0o640)
            temporary.replace(file)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror}")
