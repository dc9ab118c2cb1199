"""How the command line speaks: results on standard output, everything else on standard error."""

from __future__ import annotations

from typing import NoReturn

import typer
from rich.console import Console

out = Console()
err = Console(stderr=True, highlight=False)


def printable(name: str) -> str:
    """The name without what could move a terminal's cursor."""
    return "".join(character if character.isprintable() else "�" for character in name)


def complain(message: str) -> None:
    """Says on standard error what went wrong."""
    err.print(f"ninefold: {message}", style="red", markup=False, soft_wrap=True)


def say(message: str) -> None:
    """Tells on standard error how far the work is."""
    err.print(message, markup=False, soft_wrap=True)


def fail(message: str, code: int = 2) -> NoReturn:
    """Says `message` on standard error and ends the command."""
    complain(message)
    raise typer.Exit(code)
