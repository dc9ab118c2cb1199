"""`ninefold`: what the page does, for the terminal. Each group of commands is a module of its own."""

from __future__ import annotations

import typer

from cli import batch, export, keys, models, predict
from cli.evaluate import command as evaluate
from cli.live import command as live
from cli.loadtest import command as loadtest

app = typer.Typer(
    help="Ninefold: what is on a picture, said by the same models as the page and the server.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

app.command("predict")(predict.predict)
app.command("batch", help=batch.HELP)(batch.batch)
app.command("evaluate", help=evaluate.HELP)(evaluate.evaluate)
app.command("live", help=live.HELP)(live.live)
app.command("loadtest", help=loadtest.HELP)(loadtest.loadtest)
models.app.command("export")(export.export)
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")

if __name__ == "__main__":
    app()
