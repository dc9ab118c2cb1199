"""Where the requests go: addresses, what a server says of its models, and one request that is not counted."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

import httpx

from cli.loadtest.asking import BROKEN, NO_TLS, NOT_UNDERSTOOD, TIMEOUT, UNKNOWN_HOST, Answer, Connection
from cli.loadtest.bodies import Tensor
from cli.loadtest.plan import Body, Plan
from cli.server import CannotAnswer, client_for, message_of, no_server

PREDICT = "/v1/predict"
_BUSY = "status 429"


def base_of(endpoint: str) -> str:
    """The server's address, without a slash at its end. Raises CannotAnswer for what is none."""
    try:
        parts = urlsplit(endpoint)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine:
        raise CannotAnswer(
            f"{endpoint!r} is no server's address; give one like http://127.0.0.1:8000, after the pictures"
        )
    path = parts.path.rstrip("/").removesuffix(PREDICT)
    return urlunsplit((parts.scheme, parts.netloc, path, "", ""))


def predict_url(base: str, model: str | None, precision: str | None) -> str:
    """Of POST /v1/predict."""
    asked = {name: value for name, value in (("model", model), ("precision", precision)) if value}
    return base + PREDICT + (f"?{urlencode(asked)}" if asked else "")


def infer_target(base: str, model: str | None, precision: str | None, key: str | None) -> tuple[str, Tensor]:
    """Of the Open Inference Protocol: the address, and the model's input for pictures. Raises CannotAnswer."""
    with client_for(base, httpx.Client, key) as client:
        name = model or _default_model(client)
        version = f"/versions/{quote(precision, safe='')}" if precision else ""
        path = f"/v2/models/{quote(name, safe='')}{version}"
        stated, server = _get(client, path), _get(client, "/v2")
    try:
        inputs = [found for found in stated["inputs"] if found["datatype"] == "BYTES"]
        five = "classification" in server.get("extensions", ())
        tensor = Tensor(str(inputs[0]["name"]), len(inputs[0]["shape"]), str(stated["outputs"][0]["name"]), five)
    except (AttributeError, KeyError, TypeError, IndexError) as error:
        raise CannotAnswer(
            f"{name} at {base} has no input for encoded pictures (BYTES); ask for nine images a request or fewer (-b 9)"
        ) from error
    return f"{base}{path}/infer", tensor


def _default_model(client: httpx.Client) -> str:
    models = _get(client, "/v1/models")
    try:
        return str(next(model["name"] for model in models["models"] if model["default"]))
    except (KeyError, TypeError, StopIteration) as error:
        raise CannotAnswer("the server does not say which model is its default; name one with --model") from error


def _get(client: httpx.Client, path: str) -> Any:
    try:
        response = client.get(path)
        if response.is_success:
            return response.json()
    except httpx.TransportError as error:
        raise no_server(client.base_url, error) from error
    except ValueError as error:
        raise CannotAnswer(f"{client.base_url}{path} answers no JSON; is it a Ninefold server's address?") from error
    hint = ". More than nine images a request need the Open Inference Protocol" if response.status_code == 404 else ""
    raise CannotAnswer(_said(response) + hint)


def probe(plan: Plan, body: Body) -> None:
    """Asks once, uncounted. Raises CannotAnswer for what would fail each time; that it is busy is worth measuring."""
    connection = Connection(plan)
    answer = connection.ask(body)
    connection.close()
    if answer.problem and answer.problem != _BUSY:
        raise CannotAnswer(_why(plan, answer))


def _why(plan: Plan, answer: Answer) -> str:
    words = {
        TIMEOUT: f"did not answer within {plan.timeout:g} s; give it longer (--timeout), or look at its log",
        BROKEN: "closed the connection before an answer came; look at the server's log",
        NOT_UNDERSTOOD: "answered, and not as a Ninefold server does; check the address",
        UNKNOWN_HOST: "names a host that is not known; check the address",
        NO_TLS: "does not speak TLS as it should; check its certificate, or give http:// if it has none",
    }
    if answer.problem in words:
        return f"{plan.url} {words[answer.problem]}"
    if answer.rows:
        return f"the server cannot read a picture ({answer.rows[0]}: {_message(answer, plan.url)}); give another"
    if answer.problem.startswith("status"):
        return _message(answer, plan.url)
    return f"the server at {plan.url} does not answer ({answer.problem}). Is it running? `make run` starts one"


def _message(answer: Answer, url: str) -> str:
    """The server's own words."""
    if answer.rows:
        rows = httpx.Response(200, content=answer.data).json()["results"]
        return str(next(row["error"].get("message", "") for row in rows if row["status"] != "ok")).rstrip(".")
    status = int(answer.problem.removeprefix("status "))
    return _said(httpx.Response(status, content=answer.data, request=httpx.Request("POST", url)))


def _said(response: httpx.Response) -> str:
    """As the API words errors, or as the Open Inference Protocol does."""
    try:
        error = response.json()["error"]
    except (ValueError, KeyError, TypeError):
        error = None
    said = error if isinstance(error, str) else message_of(response)
    hint = ". Give its key (NINEFOLD_API_KEY, --key)" if response.status_code == 401 else ""
    return said.rstrip(".") + hint
