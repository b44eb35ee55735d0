"""What the reconciler needs of a Kubernetes cluster."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

Manifest = Mapping[str, Any]
"""An object of the cluster as its API has it: JSON's dictionaries, lists, texts, numbers and booleans."""


class ClusterError(Exception):
    """The cluster refused or failed a call; the message begins with `cannot` and has no secret."""


# The real one is adapters/kubernetes_cluster.py, the fake one tests/fakes/cluster.py; the same contract tests hold for
# both.
class Cluster(Protocol):
    """One namespace of a cluster. Every call ends within a time-out and raises ClusterError when it fails."""

    def list(self) -> Sequence[Manifest]:
        """Show every object of ours in the namespace (`core.cluster.labels.OURS`), and their pods."""

    def apply(self, manifest: Manifest) -> Manifest:
        """Make an object as the manifest says, by server-side apply, and return it as it is then.

        Fields that the manifest has are ours from then on. What an earlier manifest had is taken out, and of what asks
        for servers, addresses or protection also what somebody else added.
        """

    def delete(self, kind: str, name: str) -> None:
        """Ask for the end of an object and of what it made; returns when the cluster has taken note.

        One that is not there is deleted.
        """

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` after changes of objects of ours, from other threads, until the process ends."""
