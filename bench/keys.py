"""Whether 10,000 wrong keys slow the right one down: its latency while they come, and in the quiet between.

    python -m bench.keys

Five times quiet, and 2,000 wrong ones at a steady rate from a process of their own: each with another secret, half of
them under the id of the right key. The right one asks for one picture at a time. A lock-out or a wait that grows would
show in the later rounds; what is left is that right and wrong ones, and their sender, share the same cores.
"""

from __future__ import annotations

import http.client
import multiprocessing
import secrets
import statistics
import time
from dataclasses import replace
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import httpx
from rich.console import Console
from rich.table import Table

from bench.servers import measured, own_server
from bench.table import ran_on
from contract.keys import id_of, new_key, new_keys

ROUNDS, WRONG, RATE = 5, 2_000, 400.0
ASKED = 40
PICTURE = Path(__file__).resolve().parents[1] / "frontend" / "samples" / "koala.jpg"


def flood(url: str, identity: str) -> None:
    """Sends the wrong keys, by schedule. Ends with an error for an answer that is not 401."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(str(place.hostname), place.port, timeout=30)
    begun = time.monotonic()
    for number in range(WRONG):
        time.sleep(max(0.0, begun + number / RATE - time.monotonic()))
        named = identity if number % 2 else secrets.token_hex(4)
        sent = {"Authorization": f"Bearer nf_{named}_{secrets.token_urlsafe(32)}"}
        connection.request("POST", "/v1/predict", headers=sent)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 401:
            raise SystemExit(f"bench: a wrong key got {answer.status}")


def asked(client: httpx.Client, count: int = ASKED) -> list[float]:
    """Milliseconds of so many requests, one after the other."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        client.post("/v1/predict", files={"images": PICTURE.read_bytes()}).raise_for_status()
        found.append(1000 * (time.perf_counter() - began))
    return found


def asked_while(running: BaseProcess, client: httpx.Client) -> list[float]:
    """The same for as long as the process runs."""
    found: list[float] = []
    while running.is_alive():
        found += asked(client, 5)
    return found


def look(url: str, sent: str, client: httpx.Client) -> tuple[float, float]:
    """One round: the median in the quiet, and while the wrong ones come."""
    quiet = asked(client)
    wrong = multiprocessing.get_context("spawn").Process(target=flood, args=(url, id_of(sent)))
    wrong.start()
    busy = asked_while(wrong, client)
    if wrong.exitcode:
        raise SystemExit("bench: the wrong keys did not all come")
    return statistics.median(quiet), statistics.median(busy)


def main() -> None:
    """Starts a server with one key, and prints the table."""
    key, sent = new_key("bench")
    with TemporaryDirectory() as folder:
        file = Path(folder) / "keys.json"
        file.write_bytes(replace(new_keys(), keys=(key,)).encode())
        with own_server(**measured("fp32"), NINEFOLD_KEYS_FILE=str(file)) as (url, _):
            client = httpx.Client(base_url=url, headers={"Authorization": f"Bearer {sent}"}, trust_env=False)
            asked(client)  # the first ones warm it up
            rounds = [look(url, sent, client) for _ in range(ROUNDS)]
            metrics = client.get("/metrics").text
    refused = float(metrics.split("\nninefold_refused_keys_total ")[1].split("\n")[0])
    table = Table("the right key, median", *(f"round {number}" for number in range(1, ROUNDS + 1)))
    table.add_row("quiet", *(f"{quiet:.1f} ms" for quiet, _ in rounds))
    table.add_row("while wrong ones come", *(f"{busy:.1f} ms" for _, busy in rounds))
    table.add_row("ratio", *(f"{busy / quiet:.2f}" for quiet, busy in rounds))
    Console().print(table)
    ratio = statistics.median(busy / quiet for quiet, busy in rounds)
    print(f"{refused:,.0f} wrong keys refused; median ratio {ratio:.2f}; {ran_on()}")


if __name__ == "__main__":
    main()
