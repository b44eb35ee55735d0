"""The words of what people can ask of the reconciler; alone, so that commands need not import how it is written."""

from enum import StrEnum


class Verb(StrEnum):
    """What can be asked."""

    # Of one deployment.
    SUSPEND = "suspend"
    RESUME = "resume"
    RETRY = "retry"
    ROLLBACK = "rollback"
    ROLLOUT = "rollout"
    REPLACE = "replace-files"
    ADOPT = "adopt"
    GIVE_BACK = "give-back"
    GIVEN_BACK = "given-back"

    # Of the whole host.
    CONFIRM_PRUNE = "confirm-prune"
    CONFIRM_REGISTRY = "confirm-registry"
    APPLY = "apply"
    PLAN = "plan"

    @property
    def is_about_host(self) -> bool:
        """Whether it names no deployment."""
        return self in _OF_HOST

    @property
    def words(self) -> str:
        """The verb as it reads after "cannot", before the name of a deployment.

        Verbs that concern the whole host have whole sentences of their own.
        """
        return _WORDS.get(self, self.value)


_OF_HOST = (Verb.CONFIRM_PRUNE, Verb.CONFIRM_REGISTRY, Verb.APPLY, Verb.PLAN)
# Those that read otherwise than the command calls them.
_WORDS = {
    Verb.ROLLBACK: "roll back",
    Verb.ROLLOUT: "roll out",
    Verb.REPLACE: "replace the files of",
    Verb.GIVE_BACK: "give back",
    Verb.GIVEN_BACK: "give back",
}
