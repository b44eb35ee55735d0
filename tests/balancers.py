"""Real load balancers in front of hosts, and a cache in front of a registry, as docs/fleet has them."""

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx

from tests.documents.pages import CHECKOUT
from tests.mlflow_server import PATIENCE, free_port, wait_until

RECIPES = CHECKOUT / "docs/fleet"
PORTS = {"haproxy": 8001, "nginx": 8002, "caddy": 8003}
"""Where each listens, in its recipe; here, at any free port."""
PATH = "/usr/sbin:/usr/bin"
_FILES = {"haproxy": "haproxy.cfg", "nginx": "nginx.conf", "caddy": "Caddyfile"}
# What stands around a file of /etc/nginx/conf.d.
_NGINX = """daemon off;
user root;
pid {place}/pid;
error_log {place}/errors;
events {{}}
http {{
access_log off;
{paths}
{text}
}}
"""
_KINDS = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


def missing(*names: str) -> list[str]:
    """Name the programs that are not on this machine, of these or of all."""
    return [name for name in names or PORTS if shutil.which(name, path=PATH) is None]


@contextmanager
def balancer(name: str, servers: Sequence[str], place: Path) -> Iterator[str]:
    """Run one in front of three servers; gives its address. `place` takes its files."""
    assert len(servers) == 3, "a recipe has three servers"
    text = (RECIPES / _FILES[name]).read_text()
    for number, server in enumerate(servers, 1):
        text, found = re.subn(rf"127\.0\.0\.1:2000{number}\b", server, text)
        assert found, f"the recipe of {name} has no server {number}"
    port = free_port()
    text, found = re.subn(rf"(?<=:){PORTS[name]}\b", str(port), text)
    assert found, f"the recipe of {name} does not listen at {PORTS[name]}"
    address = f"http://127.0.0.1:{port}"
    with run(name, text, place, f"{address}/ping"):
        yield address


@contextmanager
def cache(uri: str, place: Path, *, valid: str = "5s") -> Iterator[str]:
    """Run the cache in front of a registry; gives its address. `valid`: how long an answer is."""
    front = f"127.0.0.1:{free_port()}"
    text = (RECIPES / "registry-cache.conf").read_text()
    text = text.replace("listen 5080;", f"listen {front};").replace("http://127.0.0.1:5000", uri)
    text = text.replace("valid 200 5s;", f"valid 200 {valid};").replace("/run/mlflow-registry-cache", f"{place}/cache")
    with run("nginx", text, place, f"http://{front}/health"):
        yield f"http://{front}"


@contextmanager
def run(name: str, text: str, place: Path, url: str) -> Iterator[None]:
    """Run a program with a configuration, and wait until it answers 200 at an address."""
    place.mkdir(parents=True, exist_ok=True)
    file = place / _FILES[name]
    file.write_text(as_nginx_has_it(text, place) if name == "nginx" else text)
    commands = {
        "haproxy": ["haproxy", "-db", "-f", str(file)],
        "nginx": ["nginx", "-e", f"{place}/errors", "-c", str(file)],
        "caddy": ["caddy", "run", "--adapter", "caddyfile", "--config", str(file)],
    }
    with (place / "output").open("wb") as output:
        process = subprocess.Popen(commands[name], stdout=output, stderr=output, env={"PATH": PATH, "HOME": str(place)})

    def answers() -> bool | None:
        if process.poll() is not None:
            said = "\n".join(path.read_text() for path in (place / "output", place / "errors") if path.exists())
            raise AssertionError(f"{name} ended: {said}")
        with suppress(httpx.TransportError):
            return httpx.get(url, timeout=5, trust_env=False).status_code == httpx.codes.OK or None
        return None

    try:
        wait_until(answers, f"{name} answers at {url}")
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)


def as_nginx_has_it(text: str, place: Path) -> str:
    """Put what Debian's main file of nginx has around a file of conf.d, with all that is written in one place."""
    paths = "\n".join(f"{kind}_temp_path {place}/{kind};" for kind in _KINDS)
    return _NGINX.format(place=place, paths=paths, text=text)
