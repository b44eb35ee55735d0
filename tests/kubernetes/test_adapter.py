"""What no cluster does on demand: an API server that does not answer, or is of another version from now on."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from reconciler.adapters import kubernetes_cluster
from reconciler.adapters.kubernetes_cluster import KubernetesCluster
from reconciler.ports.cluster import ClusterError


def kubeconfig(directory: Path, port: int) -> str:
    """A file that names an API server on this machine."""
    content = {
        "clusters": [{"name": "here", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "here", "context": {"cluster": "here", "user": "nobody"}}],
        "current-context": "here",
    }
    file = directory / "kubeconfig"
    file.write_text(json.dumps(content))
    return str(file)


def test_a_call_that_is_not_answered_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reconciler has to answer its watchdog, and its next pass is another try."""
    monkeypatch.setattr(kubernetes_cluster, "_TIMEOUT", (0.3, 0.3))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        cluster = KubernetesCluster(kubeconfig(tmp_path, silent.getsockname()[1]), "models")
        with pytest.raises(ClusterError, match="cannot reach the cluster at"):
            cluster.list()
        silent.settimeout(0.5)
        silent.accept()[0].close()
        with pytest.raises(TimeoutError):
            silent.accept()


def test_a_cluster_of_another_version_is_asked_anew_what_it_has(tmp_path: Path) -> None:
    """One that was upgraded, or that said once by mistake that it had no such group."""
    with api_server() as (groups, port):
        cluster = KubernetesCluster(kubeconfig(tmp_path, port), "models")
        groups.add("/apis/policy/v1beta1")
        assert list(cluster.list()) == []
        groups.clear()
        groups.add("/apis/policy/v1")
        with pytest.raises(ClusterError, match="404"):
            cluster.list()
        assert list(cluster.list()) == []


@contextmanager
def api_server() -> Iterator[tuple[set[str], int]]:
    """Show empty lists, of the group `policy` only in the versions of a set."""
    groups: set[str] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            group = "/".join(path.split("/")[:4])
            is_there = not group.startswith("/apis/policy/") or group in groups
            answer = json.dumps({"items": []} if is_there else {"message": "no such page"}).encode()
            self.send_response(200 if is_there else 404)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield groups, server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
