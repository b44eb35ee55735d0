"""A namespace in memory, whose controllers do what a test says; tests/kubernetes holds it to what a real one does."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from typing import Any

from reconciler.core.cluster import labels
from reconciler.ports.cluster import ClusterError, Manifest

_COUNTS_CHANGES = ("Deployment", "Job", "NetworkPolicy", "PodDisruptionBudget")
_OWN_PODS = {"Deployment": "server", "Job": "prepare"}


class FakeCluster:
    """What is applied is there at once. Jobs and Deployments stay as they begin until a test moves them on."""

    def __init__(self) -> None:
        """Begin with an empty namespace."""
        self.objects: dict[str, dict[str, Any]] = {}
        """By kind and name."""
        self.pods: dict[str, dict[str, Any]] = {}
        self.calls: list[str] = []
        """What was changed, in order: `apply Kind/name`, `delete Kind/name`."""
        self.refuses: str = ""
        """Why the API server refuses every call; "" when it does not."""
        self.loses_answer_to: str = ""
        """How calls begin that take effect and whose answer is lost, such as `apply ConfigMap/`."""
        self._numbers = itertools.count(1)

    # The port.

    def list(self) -> Sequence[Manifest]:
        """Show everything."""
        self._answer()
        return [deepcopy(one) for one in (*self.objects.values(), *self.pods.values())]

    def apply(self, manifest: Manifest) -> Manifest:
        """Keep what is applied, and count changes of what is asked for."""
        self._answer()
        unit = f"{manifest['kind']}/{manifest['metadata']['name']}"
        self.calls.append(f"apply {unit}")
        number = str(next(self._numbers))
        there = self.objects.get(unit)
        made = deepcopy(dict(manifest))
        metadata = made["metadata"] = dict(made["metadata"])
        metadata["uid"] = there["metadata"]["uid"] if there else f"uid-{number}"
        changed = there is None or there.get("spec") != made.get("spec")
        same = there is not None and there["metadata"].get("labels") == metadata.get("labels") and not changed
        same = same and there is not None and there.get("data") == made.get("data")
        metadata["resourceVersion"] = there["metadata"]["resourceVersion"] if there and same else number
        if manifest["kind"] in _COUNTS_CHANGES:
            metadata["generation"] = (there["metadata"]["generation"] if there else 0) + changed
        # It does not keep empty lists, so one that is applied again is a change again.
        made = _without_empty_lists(made)
        made["status"] = there.get("status", {}) if there else {}
        self.objects[unit] = made
        if self.loses_answer_to and self.calls[-1].startswith(self.loses_answer_to):
            raise ClusterError(f"cannot PATCH {unit}: Gateway Timeout (504)")
        return deepcopy(made)

    def delete(self, kind: str, name: str) -> None:
        """Remove an object and its pods."""
        self._answer()
        unit = f"{kind}/{name}"
        self.calls.append(f"delete {unit}")
        gone = self.objects.pop(unit, None)
        if gone is not None and kind in _OWN_PODS:
            self.pods = {pod: one for pod, one in self.pods.items() if one["owner"] != unit}

    def watch(self, wake: Callable[[], None]) -> None:
        """Nothing happens by itself."""

    def _answer(self) -> None:
        if self.refuses:
            raise ClusterError(self.refuses)

    # What the controllers do.

    def finish_job(self, name: str, *, environment: str = "host", files: str = "f" * 64, example: str = "") -> None:
        """All steps of a Job end well."""
        found = f"; example={example}" if example else ""
        said = {
            "fetch": f"fetched 3 files{found}; files={files}; environment={environment}",
            "build": "nothing is built" if environment == "host" else f"built; content={'c' * 64}",
            "verify": f"verified; environment={environment}",
        }
        self._end_job(name, {step: (0, words) for step, words in said.items()}, "Complete")

    def fail_job(self, name: str, step: str, words: str) -> None:
        """A step of a Job fails, and says so."""
        before = ("fetch", "build", "verify")[: ("fetch", "build", "verify").index(step)]
        self._end_job(name, {**dict.fromkeys(before, (0, "done")), step: (1, words)}, "Failed")

    def _end_job(self, name: str, ended: Mapping[str, tuple[int, str]], condition: str) -> None:
        job = self.objects[f"Job/{name}"]
        job["status"] = {"conditions": [{"type": condition, "status": "True", "message": "it ended"}]}
        containers = [
            {"name": step, "state": {"terminated": {"exitCode": code, "message": f"noise\n{words}\n"}}}
            for step, (code, words) in ended.items()
        ]
        labelled = {**job["spec"]["template"]["metadata"]["labels"], "job-name": name}
        self._add_pod(f"Job/{name}", labelled, {"initContainerStatuses": containers})

    def leave_pending(self, name: str, why: str) -> None:
        """No node takes the pod of a Job."""
        labelled = {**self.objects[f"Job/{name}"]["spec"]["template"]["metadata"]["labels"], "job-name": name}
        self._add_pod(f"Job/{name}", labelled, {"conditions": [_no_node(why)]})

    def get_ready(self, name: str) -> None:
        """A new server of a Deployment gets ready, and is watched; those before it go on."""
        unit, one = self._deployment(name)
        self._add_pod(unit, one["spec"]["template"]["metadata"]["labels"], {"conditions": [_READY]})
        self._add_server(one)

    def lose_servers(self, name: str, count: int) -> None:
        """Servers of a Deployment end with their node."""
        unit, one = self._deployment(name)
        lost = [pod for pod, found in self.pods.items() if found["owner"] == unit][:count]
        self.pods = {pod: found for pod, found in self.pods.items() if pod not in lost}
        one["status"] = {**one["status"], "availableReplicas": one["status"]["availableReplicas"] - len(lost)}

    def scale_to_nothing(self, name: str) -> None:
        """Somebody does, and the cluster follows."""
        unit, one = self._deployment(name)
        self.tamper(unit, replicas=0)
        self.pods = {pod: found for pod, found in self.pods.items() if found["owner"] != unit}
        one["status"] = {"observedGeneration": one["metadata"]["generation"]}

    def roll_out(self, name: str) -> None:
        """The servers of a Deployment get ready, and those before them end."""
        unit, one = self._deployment(name)
        count = one["spec"]["replicas"]
        self.pods = {pod: found for pod, found in self.pods.items() if found["owner"] != unit}
        for _ in range(count):
            self._add_pod(unit, one["spec"]["template"]["metadata"]["labels"], {"conditions": [_READY]})
        one["status"] = {
            "observedGeneration": one["metadata"]["generation"],
            "replicas": count,
            "updatedReplicas": count,
            "availableReplicas": count,
            "conditions": [{"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}],
        }

    def start_in_vain(
        self, name: str, words: str, *, exit_code: int = 78, restarts: int = 0, has_served: bool = False
    ) -> None:
        """A new server of a Deployment ends with its last words, maybe after it served; those before it go on."""
        unit, one = self._deployment(name)
        ended = {"terminated": {"exitCode": exit_code, "reason": "Error", "message": f"Traceback\n{words}\n"}}
        server = {"name": "server", "ready": False, "restartCount": restarts, "state": ended}
        labelled = one["spec"]["template"]["metadata"]["labels"]
        turned = _LATER if has_served else _BEGAN
        not_ready = {"type": "Ready", "status": "False", "lastTransitionTime": turned}
        self._add_pod(unit, labelled, {"containerStatuses": [server], "conditions": [not_ready], "startTime": _BEGAN})
        self._add_server(one)

    def miss_deadline(self, name: str) -> None:
        """The servers of a Deployment did not get ready within its deadline."""
        _, one = self._deployment(name)
        self._add_server(one)
        late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}
        one["status"]["conditions"] = [late]

    def _add_server(self, one: dict[str, Any]) -> None:
        """Count a server that is not ready, beside those before it."""
        before = one.get("status", {})
        counts = {"updatedReplicas": 1, "replicas": before.get("replicas", 0) + 1}
        one["status"] = {**before, **counts, "observedGeneration": one["metadata"]["generation"]}

    def tamper(self, unit: str, **spec: object) -> None:
        """Somebody changes what an object asks for."""
        one = self.objects[unit]
        one["spec"] = {**one["spec"], **spec}
        one["metadata"]["resourceVersion"] = str(next(self._numbers))
        if one["kind"] in _COUNTS_CHANGES:
            one["metadata"]["generation"] += 1

    def edit(self, unit: str, key: str, text: str) -> None:
        """Somebody changes what a ConfigMap says."""
        one = self.objects[unit]
        one["data"][key] = text
        one["metadata"]["resourceVersion"] = str(next(self._numbers))

    def _deployment(self, name: str) -> tuple[str, dict[str, Any]]:
        unit = f"Deployment/{labels.object_name(name)}"
        return unit, self.objects[unit]

    def _add_pod(self, owner: str, labelled: Mapping[str, str], status: Mapping[str, object]) -> None:
        name = f"{owner.partition('/')[2]}-{next(self._numbers)}"
        self.pods[name] = {
            "kind": "Pod",
            "metadata": {"name": name, "labels": dict(labelled)},
            "status": dict(status),
            "owner": owner,
        }


_BEGAN, _LATER = "2026-01-01T00:00:00Z", "2026-01-01T00:00:05Z"
_READY = {"type": "Ready", "status": "True"}


def _no_node(why: str) -> dict[str, str]:
    return {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}


def _without_empty_lists(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_empty_lists(each) for key, each in value.items() if each != []}
    if isinstance(value, list):
        return [_without_empty_lists(each) for each in value]
    return value
