"""What is done in the cluster; notes in the ledger are those of every runtime (`planner.ledger_updates`)."""

from dataclasses import dataclass

from reconciler.core.cluster.values import Values, rendered_from
from reconciler.core.planner.unit_actions import Action


@dataclass(frozen=True)
class Apply(Action):
    """Make an object as its template says. `unit` is its kind and name."""

    template: str
    values: Values

    verb = "apply"

    @property
    def digest(self) -> str:
        """What the object says it was rendered from."""
        return rendered_from(self.template, self.values)


@dataclass(frozen=True)
class Delete(Action):
    """Have the cluster remove an object. `unit` is its kind and name."""

    verb = "delete"
