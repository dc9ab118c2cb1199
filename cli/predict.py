"""`ninefold predict`: what is on each picture, by a server or, without one, in this very process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from cli.answers import Results, ask_server, predict_here
from cli.console import err, fail, out, printable
from cli.options import DEFAULT_DIR, Device, ModelsDir
from cli.server import CannotAnswer, ServerKey


def predict(  # noqa: PLR0913, PLR0917  # one for each word of the command
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="The pictures, as many as you like.")],
    server: Annotated[
        str | None,
        typer.Option(envvar="NINEFOLD_API_URL", help="A server's address. Without one: no server is needed."),
    ] = None,
    model: Annotated[str | None, typer.Option(help="Which model. Without it: the default.")] = None,
    precision: Annotated[str | None, typer.Option(help="In which precision. Without it: the model's default.")] = None,
    top_k: Annotated[int, typer.Option(min=1, max=1000, help="How many predictions a picture.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON, in the shape of the API's answer.")] = False,
    device: Device = "CPU",
    models_dir: ModelsDir = DEFAULT_DIR,
    key: ServerKey = None,
) -> None:
    """Say what is on each picture. Exit code 1: one or more could not be answered; 2: none was tried."""
    try:
        with err.status("Looking …"):
            if server:
                results = ask_server(server, images, model, precision, top_k, key)
            else:
                results = predict_here(models_dir, images, model, precision, top_k, device)
    except CannotAnswer as error:
        fail(str(error))
    if as_json:
        typer.echo(json.dumps(results, ensure_ascii=False, indent=2))
    else:
        out.print(_table(results))
    if any(row["status"] != "ok" for row in results["results"]):
        raise typer.Exit(1)


def _table(results: Results) -> Table:
    table = Table(
        "picture", "label", "probability", title=f"{results['model']} {results['precision']}", title_justify="left"
    )
    table.columns[2].justify = "right"
    for row in results["results"]:
        for number, line in enumerate(_lines(row)):
            table.add_row(Text(printable(row["name"])) if number == 0 else Text(""), *line)
        table.add_section()
    return table


def _lines(row: dict[str, Any]) -> list[tuple[Text, Text]]:
    if row["status"] != "ok":
        return [(Text(row["error"]["message"], style="red"), Text(row["error"]["code"], style="red"))]
    return [(Text(line["label"]), Text(f"{line['probability']:.1%}")) for line in row["predictions"]]
