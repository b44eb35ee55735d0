"""Runs wrk, a load generator, and reads what it counted."""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "%s"
local file = io.open("%s", "rb")
wrk.body = file:read("*a")
file:close()
done = function(summary, latency, requests)
  local errors = summary.errors
  local bad = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format(
    'FOUND {"requests": %%d, "microseconds": %%d, "bad": %%d, "p50": %%f, "p99": %%f, "p999": %%f}\\n',
    summary.requests, summary.duration, bad,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
"""


@dataclass(frozen=True)
class Load:
    """What one run of wrk came to; latencies are in milliseconds."""

    requests_per_second: float
    bad: int
    """Answers other than 2xx and 3xx, time-outs, broken connections."""
    p50: float
    p99: float
    p999: float


def ask(url: str, body: bytes, media_type: str, connections: int, seconds: float) -> Load:
    """Send one body over and over, on so many connections that are kept."""
    with tempfile.TemporaryDirectory() as directory:
        sent, script = Path(directory, "body"), Path(directory, "script.lua")
        sent.write_bytes(body)
        script.write_text(_SCRIPT % (media_type, sent))
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script), url]
        printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=seconds + 90).stdout
    return read(printed)


def read(printed: str) -> Load:
    """What wrk printed with our script. Raises ValueError when it has not come to its end."""
    line = next((line for line in printed.splitlines() if line.startswith("FOUND ")), "")
    if not line:
        raise ValueError(f"cannot read the output of wrk: {printed[-200:]!r}")
    found = json.loads(line.removeprefix("FOUND "))
    rate = found["requests"] / (found["microseconds"] / 1e6)
    return Load(rate, found["bad"], *(found[name] / 1000 for name in ("p50", "p99", "p999")))
