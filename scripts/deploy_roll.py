"""Has the host roll to four digests, looks at it from outside, and has it roll back when what is seen is not right.

    python -m scripts.deploy_roll --outputs terraform.json --address https://DOMAIN HOST BACKEND FRONTEND PROXY

0: it runs. 1: it does not, and what ran before runs again, or never stopped.
"""

from __future__ import annotations

import argparse
import json
import ssl
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scripts.deploy_push import AwsFailed, ask_aws, read_outputs

# What a visitor without a key gets, by path: the golden image came out right, the page is there, the API wants a key.
SEEN = {"/readyz": 200, "/healthz": 200, "/": 200, "/v1/models": 401, "/metrics": 404}
_PARAMETERS = ("HostDigest", "BackendDigest", "FrontendDigest", "ProxyDigest")
_OVER = ("Success", "Failed", "TimedOut", "Cancelled")
_ROLL_SECONDS = 1500
_SMOKE_SECONDS = 60


class HostFailed(Exception):
    """The host came to its own end and says in the text what runs: as a rule what ran before."""


class NotRight(Exception):
    """Nothing was taken back, and what runs is not what is to run. The text says what was seen."""


def main() -> int:
    """0 or 1."""
    asked = _arguments()
    try:
        return _deploy(asked, Host(read_outputs(asked.outputs), asked.tick_seconds))
    except AwsFailed as failed:
        print(f"What became of it is not known: {failed}", file=sys.stderr)
        return 1


def _deploy(asked: argparse.Namespace, host: Host) -> int:
    before = host.runs()
    try:
        host.roll(asked.digests)
        smoke_test(asked.address, asked.smoke_seconds, insecure=asked.insecure)
    except HostFailed as failed:
        print(f"The host failed: {failed}", file=sys.stderr)
        return 1
    except NotRight as failed:
        print(f"Not right: {failed}", file=sys.stderr)
        return _roll_back(host, before)
    print(f"Runs: {' '.join(asked.digests)}")
    return 0


def _roll_back(host: Host, before: Sequence[str]) -> int:
    if len(before) != len(_PARAMETERS):
        print("There is nothing to roll back to: nothing ran before.", file=sys.stderr)
        return 1
    try:
        host.roll(before)
        print(f"Rolled back to {' '.join(before)}", file=sys.stderr)
    except (HostFailed, NotRight) as failed:
        print(f"It could not be rolled back either: {failed}", file=sys.stderr)
    return 1


class Host:
    """The host by SSM: it takes one document, with digests and nothing else."""

    def __init__(self, outputs: Mapping[str, str], tick_seconds: float = 5) -> None:
        self._outputs = outputs
        self._tick_seconds = tick_seconds

    def runs(self) -> list[str]:
        """The digests that it noted last; something else where nothing was rolled yet."""
        return str(_aws("ssm", "get-parameter", "--name", self._outputs["runs"])["Parameter"]["Value"]).split()

    def roll(self, digests: Sequence[str]) -> None:
        """Waits for its end. Raises HostFailed; NotRight where the host was cut off in its midst."""
        parameters = json.dumps({name: [digest] for name, digest in zip(_PARAMETERS, digests, strict=True)})
        where = ("--document-name", self._outputs["document"], "--instance-ids", self._outputs["instance"])
        command = str(_aws("ssm", "send-command", *where, "--parameters", parameters)["Command"]["CommandId"])
        deadline = time.monotonic() + _ROLL_SECONDS
        while (told := self._told(command)).get("Status") not in _OVER:
            if time.monotonic() > deadline:
                raise NotRight(f"the host did not come to an end within {_ROLL_SECONDS} s")
            time.sleep(self._tick_seconds)
        print(told["StandardOutputContent"])
        if told["Status"] != "Success":
            ended = HostFailed if told["Status"] == "Failed" else NotRight
            raise ended(f"{told['Status']}: {told['StandardErrorContent'].strip()[-2000:]}")

    def _told(self, command: str) -> Mapping[str, Any]:
        which = ("--command-id", command, "--instance-id", self._outputs["instance"])
        # For a moment after it was sent, nobody knows it.
        return ask_aws("ssm", "get-command-invocation", *which, absent="InvocationDoesNotExist") or {}


def smoke_test(address: str, seconds: float, *, insecure: bool = False) -> None:
    """Looks at each path until it is as it is to be. Raises NotRight with what is seen instead."""
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + seconds
    for path, wanted in SEEN.items():
        while (seen := _status(address + path, context)) != wanted:
            if time.monotonic() > deadline:
                raise NotRight(f"{path} answers {seen}, not {wanted}")
            time.sleep(1)


def _status(url: str, context: ssl.SSLContext) -> int | str:
    try:
        with urllib.request.urlopen(url, timeout=10, context=context) as answer:  # noqa: S310  # the workflow's own address
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError as error:
        return str(error)


def _aws(*command: str) -> dict[str, Any]:
    return ask_aws(*command) or {}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="deploy_roll", description="Roll the host, look at it, roll back if need be.")
    parser.add_argument("digests", nargs=4, metavar="DIGEST", help="bundle, backend, frontend, proxy")
    parser.add_argument("--outputs", type=Path, required=True, help="what `terraform output -json` says")
    parser.add_argument("--address", required=True, help="https:// and the domain")
    parser.add_argument("--insecure", action="store_true", help="the certificate is the proxy's own")
    parser.add_argument("--smoke-seconds", type=float, default=_SMOKE_SECONDS, help="until all is as it is to be")
    parser.add_argument("--tick-seconds", type=float, default=5, help="between two looks at a roll")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
