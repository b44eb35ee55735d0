"""A Kubernetes namespace, through the official client: it knows kubeconfig files, logins and certificates.

The objects pass as the API has them. The client's classes for them would have to know every field of every template.
"""

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any
from urllib.parse import quote, urlencode

import structlog
from kubernetes import config
from kubernetes.client import ApiClient, Configuration
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError

from reconciler.core.cluster.labels import MANAGER, OURS
from reconciler.core.text.quote import one_line
from reconciler.ports.cluster import ClusterError, Manifest

log = structlog.get_logger()

_PATHS = {
    "Deployment": ("apis/apps/v1", "deployments"),
    "Job": ("apis/batch/v1", "jobs"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "Service": ("api/v1", "services"),
    "ConfigMap": ("api/v1", "configmaps"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Pod": ("api/v1", "pods"),
}
_BEFORE_1_21 = {"PodDisruptionBudget": ("apis/policy/v1beta1", "poddisruptionbudgets")}
_WATCHED = ("Deployment", "Job", "Pod")
_NOT_FOUND = 404
_GONE = 410
_ONLY_OURS = ("Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service")
"""Kinds of which the cluster itself changes nothing that is asked for."""
_GIVEN_ONCE = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")
"""What the cluster gives a Service that asks for nothing of the kind, and which it keeps."""
_WITH_WHAT_IT_MADE = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Foreground"}
JsonPatch = Sequence[Manifest]
"""Steps of RFC 6902, which change an object as it is."""
_TIMEOUT = (5, 30)
"""Seconds to connect, and for each part of an answer."""
_WATCH = 240
"""Seconds after which the cluster ends a watch, which is then begun anew."""
_PAUSE = 5.0
"""Seconds before a watch is begun anew that broke."""


class KubernetesCluster:
    """One namespace of the cluster that a kubeconfig file names."""

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        """Read the file; raises ClusterError when it is none, or has no login that the client knows."""
        try:
            own = Configuration()
            # A pass is the next try; urllib3's own would keep the reconciler from answering its watchdog.
            own.retries = False
            self._client: ApiClient = config.new_client_from_config(  # type: ignore[no-untyped-call]  # theirs
                kubeconfig, client_configuration=own
            )
        except (config.ConfigException, OSError, ValueError) as error:
            raise ClusterError(f"cannot read {kubeconfig}: {one_line(str(error), 300)}; mend the kubeconfig") from error
        self._namespace = namespace

    @cached_property
    def _paths(self) -> Mapping[str, tuple[str, str]]:
        # Asked with the first call, not at the start: a cluster that is away then is told in the status like any other.
        return _PATHS if self._is_there("apis/policy/v1") else _PATHS | _BEFORE_1_21

    def list(self) -> Sequence[Manifest]:
        """Show every object of ours in the namespace, and their pods."""
        found: list[Manifest] = []
        for kind in self._paths:
            try:
                listed = self._call("GET", kind, query={"labelSelector": OURS})
            except _NotFoundError:
                self.__dict__.pop("_paths", None)  # another version of the cluster has other groups: ask anew
                raise
            # A list does not repeat its kind in each of its items.
            found += [{**item, "kind": kind} for item in listed.get("items") or ()]
        return found

    def apply(self, manifest: Manifest) -> Manifest:
        """Make an object as the manifest says, by server-side apply."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        version = self._paths[kind][0].removeprefix("apis/").removeprefix("api/")
        query = {"fieldManager": MANAGER, "force": "true"}
        applied = self._call("PATCH", kind, name, query, {**manifest, "apiVersion": version})
        if kind in _ONLY_OURS and _others_ask_for_more(applied):
            return self._take_out(manifest, applied)
        return applied

    def _take_out(self, manifest: Manifest, applied: Manifest) -> Manifest:
        """Have an object ask for nothing but what the manifest says: an apply leaves what others added to it."""
        kind, name = manifest["kind"], manifest["metadata"]["name"]
        given = {key: value for key, value in applied["spec"].items() if kind == "Service" and key in _GIVEN_ONCE}
        steps = [
            # Refused where it was changed since: the next pass sees that.
            {"op": "test", "path": "/metadata/resourceVersion", "value": applied["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/spec", "value": {**given, **manifest["spec"]}},
        ]
        return self._call("PATCH", kind, name, {"fieldManager": MANAGER}, steps)

    def delete(self, kind: str, name: str) -> None:
        """Ask for the end of an object and of what it made."""
        try:
            self._call("DELETE", kind, name, body=_WITH_WHAT_IT_MADE)
        except _NotFoundError:
            return

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` after changes, from a thread for each kind that changes by itself."""
        for kind in _WATCHED:
            threading.Thread(target=self._watch, args=(kind, wake), name=f"watch-{kind}", daemon=True).start()

    def _watch(self, kind: str, wake: Callable[[], None]) -> None:
        """Follow one kind for ever. Whatever a break hides, the pass at the next interval sees."""
        trouble = ""
        while True:
            try:
                listed = self._call("GET", kind, query={"labelSelector": OURS, "limit": "1"})
                since = listed.get("metadata", {}).get("resourceVersion", "")
                wake()
                self._follow(kind, since, wake)
                trouble = ""
            except ClusterError as error:
                if str(error) != trouble:  # a cluster that is away stays away for many tries
                    log.warning(f"{error}; it is tried again")
                trouble = str(error)
                time.sleep(_PAUSE)

    def _follow(self, kind: str, since: str, wake: Callable[[], None]) -> None:
        query = {"labelSelector": OURS, "watch": "true", "resourceVersion": since, "timeoutSeconds": str(_WATCH)}
        response = self._request("GET", kind, "", query, None, (_TIMEOUT[0], _WATCH + 30))
        try:
            for _change in response.response.stream(2**14):
                wake()
        except HTTPError as error:
            raise ClusterError(f"cannot follow {kind} in the cluster: {one_line(str(error), 300)}") from error
        finally:
            response.response.release_conn()

    def _is_there(self, group: str) -> bool:
        try:
            self._request("GET", "", "", {}, None, _TIMEOUT, path=f"/{group}").read()
        except _NotFoundError:
            return False
        return True

    def _call(
        self,
        method: str,
        kind: str,
        name: str = "",
        query: Mapping[str, str] | None = None,
        body: Manifest | JsonPatch | None = None,
    ) -> dict[str, Any]:
        response = self._request(method, kind, name, query or {}, body, _TIMEOUT)
        try:
            answer = json.loads(response.read())
        except (ValueError, HTTPError) as error:
            raise ClusterError(f"cannot {method} {kind}/{name}: the cluster's answer broke off: {error}") from error
        if not isinstance(answer, dict):
            raise ClusterError(f"cannot {method} {kind}/{name}: the answer of the cluster is no object")
        return answer

    def _request(
        self,
        method: str,
        kind: str,
        name: str,
        query: Mapping[str, str],
        body: Manifest | JsonPatch | None,
        timeout: tuple[int, int],
        path: str = "",
    ) -> Any:
        if not path:
            group, plural = self._paths[kind]
            path = f"/{group}/namespaces/{self._namespace}/{plural}" + (f"/{quote(name, safe='')}" if name else "")
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        content: Manifest | JsonPatch | str | None = body
        if isinstance(body, Sequence):
            headers["Content-Type"] = "application/json-patch+json"
        elif method == "PATCH":
            # Which JSON is; the client itself writes only what is called JSON.
            headers["Content-Type"], content = "application/apply-patch+yaml", json.dumps(body)
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, None)
        url = f"{self._client.configuration.host}{path}" + (f"?{urlencode(query)}" if query else "")
        what = f"cannot {method} {kind}/{name}".rstrip("/")
        try:
            response = self._client.call_api(method, url, headers, content, _request_timeout=timeout)
        except ApiException as error:
            raise _refusal(what, error) from error
        except (HTTPError, OSError) as error:
            where = self._client.configuration.host
            raise ClusterError(
                f"cannot reach the cluster at {where}: {one_line(str(error), 300)}; see whether its API server runs"
            ) from error
        if response.status >= 400:
            response.read()  # type: ignore[no-untyped-call]  # the client's own, as above
            raise _refusal(what, ApiException(http_resp=response))
        return response


class _NotFoundError(ClusterError):
    """There is no such object, or no such group of the API."""


def _others_ask_for_more(applied: Manifest) -> bool:
    """Whether somebody else has a part in what an object asks for."""
    parts = applied["metadata"].get("managedFields") or ()
    return any(
        part.get("manager") != MANAGER and not part.get("subresource") and "f:spec" in (part.get("fieldsV1") or {})
        for part in parts
    )


def _refusal(what: str, error: ApiException) -> ClusterError:
    """Say why the cluster refuses, in the words of its API server where it has some."""
    try:
        said = json.loads(error.body or "")
        why = str(said.get("message", "")) if isinstance(said, dict) else ""
    except ValueError:
        why = ""
    kind = _NotFoundError if error.status in (_NOT_FOUND, _GONE) else ClusterError
    sentence = one_line(why or str(error.reason), 500)
    return kind(f"{what}: {sentence} ({error.status}); see docs/fleet/kubernetes.md for the rights that it needs")
