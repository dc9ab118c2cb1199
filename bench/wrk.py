"""wrk as a process: its figures as it measured them, with the same definition of a quantile as everyone's here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage
from tempfile import TemporaryDirectory

from cli.loadtest.plan import Body

_SCRIPT = """
local file = io.open([==[{body}]==], "rb")
wrk.method = "POST"
wrk.body = file:read("*all")
file:close()
{headers}
done = function(summary, latency)
  local errors, pairs = summary.errors, {{}}
  for i = 1, #latency do
    local value, count = latency(i)
    pairs[i] = string.format("[%d,%d]", value, count)
  end
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  local form = '\\n{{"requests":%d,"microseconds":%d,"failed":%d,"latencies":[%s]}}\\n'
  io.write(string.format(form, summary.requests, summary.duration, failed, table.concat(pairs, ",")))
end
"""


@dataclass(frozen=True)
class Figures:
    """What one side measured: requests per second, latencies in ms, ms of the client's processor a request."""

    rate: float
    p50: float
    p99: float
    cpu: float


def found(path: str | None) -> str:
    """The program that is meant; ends this one with how to get it, where it is not there."""
    return shutil.which(path or "wrk") or sys.exit(
        f"bench: there is no {path or 'wrk'}; get it by `apt-get install wrk`, or without root by "
        "`apt-get download wrk libluajit-5.1-2`, `dpkg -x` of both into a folder, --wrk FOLDER/usr/bin/wrk "
        "and LD_LIBRARY_PATH=FOLDER/usr/lib/x86_64-linux-gnu"
    )


def run(program: str, url: str, body: Body, threads: int, connections: int, seconds: float) -> Figures:
    """Closed loop, whole seconds. Ends the program if a request failed."""
    with TemporaryDirectory(prefix="bench-") as folder:
        data, script = Path(folder) / "body", Path(folder) / "post.lua"
        data.write_bytes(body.data)
        named = (header.split(": ", 1) for header in body.headers)
        headers = "\n".join(f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in named)
        script.write_text(_SCRIPT.format(body=data, headers=headers), encoding="utf-8")
        loop = [f"-t{threads}", f"-c{connections}", f"-d{max(round(seconds), 1)}s", "--timeout", "30s"]
        before = getrusage(RUSAGE_CHILDREN)
        done = subprocess.run([program, *loop, "-s", str(script), url], capture_output=True, text=True, check=False)
        after = getrusage(RUSAGE_CHILDREN)
    told = done.stdout.rstrip().rpartition("\n")[2]
    if done.returncode or not told.startswith("{"):
        sys.exit(f"{done.stdout}{done.stderr}\nbench: {program} did not end as it should")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return figures(json.loads(told), connections, cpu)


def figures(told: Mapping[str, object], connections: int, cpu_seconds: float) -> Figures:
    """From what the script tells. Ends the program if a request failed."""
    requests, microseconds, failed = (int(str(told[name])) for name in ("requests", "microseconds", "failed"))
    if failed or not requests:
        sys.exit(f"bench: of wrk's {requests} requests {failed} failed")
    recorded = {int(value): int(count) for value, count in told["latencies"]}  # type: ignore[attr-defined]
    rounds = requests // connections
    seen = uncorrected(recorded, microseconds // rounds) if rounds else Counter(recorded)
    if sum(seen.values()) != requests:
        sys.exit("bench: this wrk corrects its latencies otherwise than wrk 4.1 and 4.2; take one of those")
    p50, p99 = (quantile(seen, share) / 1000 for share in (0.5, 0.99))
    return Figures(1e6 * requests / microseconds, p50, p99, 1000 * cpu_seconds / requests)


def uncorrected(recorded: Mapping[int, int], interval: int) -> Counter[int]:
    """How often each latency was measured, of what wrk has after its correction (`stats_correct`, both in µs).

    For each latency it adds those of the requests that it takes to have been held back: one `interval` less, two less,
    and so on while there is more left than one.
    """
    left = Counter(recorded)
    for value in sorted(recorded, reverse=True):
        for added in range(value - interval, interval, -interval):
            left[added] -= left[value]
    return +left


def quantile(counts: Mapping[int, int], share: float) -> int:
    """The least value that is no less than this share of all."""
    rank, passed = max(ceil(share * sum(counts.values())), 1), 0
    for value in sorted(counts):
        passed += counts[value]
        if passed >= rank:
            return value
    raise ValueError("no values")
