"""What people can ask of the reconciler: one request, as the command writes it and the reconciler reads it."""

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from reconciler.core.operators.verbs import Verb
from reconciler.core.state.plan_document import PlanId
from reconciler.core.text.strict import StrictModel
from reconciler.core.units.names import DeployableName, Version

MAX_WHO = 100
MAX_WHY = 1000


_CANNOT = {
    Verb.CONFIRM_PRUNE: "cannot confirm a removal",
    Verb.CONFIRM_REGISTRY: "cannot agree to another source",
    Verb.APPLY: "cannot apply that plan",
    Verb.PLAN: "cannot show the plan",
}
"""What concerns the whole host, and how a sentence begins that says why it cannot be carried out."""


class Request(StrictModel):
    """One thing that one person asks, as the command writes it."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    verb: Verb
    name: DeployableName | None = None
    """Of a deployment; none for what concerns the whole host."""
    by: Annotated[str, StringConstraints(min_length=1, max_length=MAX_WHO)]
    why: Annotated[str, StringConstraints(max_length=MAX_WHY)] = ""
    until: AwareDatetime | None = None
    """When a suspension ends by itself."""
    version: Version | None = None
    """To go back to; none for the one that proved itself last."""
    plan: PlanId | None = None
    """The plan that was shown, and is to be carried out."""

    @property
    def cannot(self) -> str:
        """How a sentence begins that says why the request cannot be carried out.

        A colon and the reason follow.
        """
        if self.name is None:
            return _CANNOT[self.verb]
        return f"cannot {self.verb.words} {self.name}"

    # Root reads what a person's command wrote: a field that the verb makes no use of is refused, not passed over, so
    # that nobody believes it was heeded.
    @model_validator(mode="after")
    def _nothing_is_too_much_or_missing(self) -> Self:
        concerns_the_host = self.verb.is_about_host
        has_name = self.name is not None
        has_time = self.until is not None
        has_version = self.version is not None
        has_plan = self.plan is not None
        faults = {
            "needs a name": not has_name and not concerns_the_host,
            "takes no name": has_name and concerns_the_host,
            "takes no time": has_time and self.verb is not Verb.SUSPEND,
            "takes no version": has_version and self.verb is not Verb.ROLLBACK,
            "needs a plan": not has_plan and self.verb is Verb.APPLY,
            "takes no plan": has_plan and self.verb is not Verb.APPLY,
        }
        # The first one is enough: the command makes none of these mistakes, so who sees it wrote the file himself.
        for fault, is_so in faults.items():
            if is_so:
                raise ValueError(f"{self.verb} {fault}")
        return self


class RefusedRequestError(Exception):
    """A request that cannot be carried out; the message begins with `cannot` and says what to do instead."""
