"""What is changed in moto's Lambda: functions run in processes of ours, where moto wants Docker; and dead letters."""

from __future__ import annotations

import base64
import json
from typing import Any, Protocol

from moto.awslambda import models
from moto.awslambda.exceptions import UnknownFunctionException
from moto.awslambda.utils import get_backend
from moto.s3 import notifications

_LOG_TAIL_BYTES = 4096  # what Lambda returns of a call's log


class Answer(Protocol):
    """How a call went."""

    @property
    def payload(self) -> bytes:
        """What the handler returned, or how it failed, as JSON."""
        ...

    @property
    def failed(self) -> bool:
        """Whether it raised, or never came back."""
        ...

    @property
    def log(self) -> bytes:
        """What it printed."""
        ...


class Functions(Protocol):
    """Whoever runs functions."""

    def call(self, function: models.LambdaFunction, event: Any) -> Answer:
        """Runs it and waits."""
        ...

    def call_later(self, function: models.LambdaFunction, event: Any) -> None:
        """Takes the event, to be tried as often as Lambda tries, and returns at once."""


def install(functions: Functions) -> None:
    """Once a process, before the first request."""
    _notify_later(functions)
    _invoke_here(functions)
    _keep_dead_letter_configurations()


def _notify_later(functions: Functions) -> None:
    """S3 does not wait for the function; moto runs it within the upload's request and swallows what goes wrong."""

    def invoke(account_id: str, event_body: Any, fn_arn: str, region_name: str) -> None:
        try:
            function = get_backend(account_id, region_name).get_function(fn_arn)
        except UnknownFunctionException:
            print(f"An event for {fn_arn} is lost: there is no such function.", flush=True)
            return
        functions.call_later(function, event_body)

    notifications._invoke_awslambda = invoke


def _invoke_here(functions: Functions) -> None:
    """The Invoke API: `Event` is accepted and run later, `DryRun` runs nothing, else the caller waits."""

    def invoke(self: models.LambdaFunction, body: str | bytes, request_headers: Any, response_headers: Any) -> bytes:
        kind = request_headers.get("X-Amz-Invocation-Type", "RequestResponse")
        event = json.loads(body or "{}")
        if kind == "Event":
            functions.call_later(self, event)
        if kind in ("Event", "DryRun"):
            return b""
        answer = functions.call(self, event)
        if answer.failed:
            response_headers["x-amz-function-error"] = "Unhandled"
        response_headers["x-amz-log-result"] = base64.b64encode(answer.log[-_LOG_TAIL_BYTES:]).decode()
        return answer.payload

    models.LambdaFunction.invoke = invoke  # type: ignore[method-assign]


def _keep_dead_letter_configurations() -> None:
    """moto forgets DeadLetterConfig: it is kept on the function, as `dead_letter_config`, and shown again."""
    create = models.LambdaFunction.__init__
    configuration = models.LambdaFunction.get_configuration
    update = models.LambdaFunction.update_configuration

    def create_keeping(
        self: models.LambdaFunction, account_id: str, spec: dict[str, Any], *rest: Any, **named: Any
    ) -> None:
        create(self, account_id, spec, *rest, **named)
        self.dead_letter_config = spec.get("DeadLetterConfig")  # type: ignore[attr-defined]

    def get_configuration(self: models.LambdaFunction, on_create: bool = False) -> dict[str, Any]:
        shown = configuration(self, on_create)
        if self.dead_letter_config:  # type: ignore[attr-defined]
            shown["DeadLetterConfig"] = self.dead_letter_config  # type: ignore[attr-defined]
        return shown

    def update_configuration(self: models.LambdaFunction, config_updates: dict[str, Any]) -> dict[str, Any]:
        if "DeadLetterConfig" in config_updates:
            self.dead_letter_config = config_updates["DeadLetterConfig"]  # type: ignore[attr-defined]
        return update(self, config_updates)

    models.LambdaFunction.__init__ = create_keeping  # type: ignore[method-assign]
    models.LambdaFunction.get_configuration = get_configuration  # type: ignore[method-assign]
    models.LambdaFunction.update_configuration = update_configuration  # type: ignore[method-assign]
