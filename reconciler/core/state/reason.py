"""Why a deployment is in its state, in one word for programs; docs/rollouts.md explains each of them."""

from enum import StrEnum

from reconciler.core.units.names import Step


class Reason(StrEnum):
    """The word behind a state in the status."""

    NONE = ""
    """The state says it all."""

    # While a release is prepared.
    FETCHING = "fetching"
    BUILDING = "building"
    VERIFYING = "verifying"
    WAITING = "waiting"
    """As many steps run as may run at once."""

    # While a release is rolled out.
    STARTING = "starting"
    TAKING_OVER = "taking-over"
    SOAKING = "soaking"
    GOING_BACK = "going-back"

    # While the wanted version serves.
    SEVERAL_SELECTED = "several-selected"
    SETTINGS_CHANGED = "settings-changed"
    NO_SNAPSHOT = "no-snapshot"

    # Why the wanted version does not serve.
    FETCH_FAILED = "fetch-failed"
    BUILD_FAILED = "build-failed"
    VERIFY_FAILED = "verify-failed"
    START_FAILED = "start-failed"
    SOCKET_FAILED = "socket-failed"
    ACTION_FAILED = "action-failed"
    FAILED_IN_SOAK = "failed-in-soak"
    ERRORS_IN_SOAK = "errors-in-soak"
    ROLLED_BACK = "rolled-back"
    REFUSED = "refused"
    """This host does not accept a tag of it."""
    NO_EXAMPLE = "no-example"
    """This host requires an example to try it with, and it has none."""
    FILES_CHANGED = "files-changed"
    NUMBER_USED_AGAIN = "number-used-again"
    UNIT_NOT_OURS = "unit-not-ours"
    NO_FREE_PORT = "no-free-port"

    # What waits for a person, or was left alone by one.
    HELD = "held"
    ANOTHER_SOURCE = "another-source"
    NOT_CONFIRMED = "not-confirmed"
    """Every change of this host waits until an operator applies the plan."""
    SUSPENDED = "suspended"
    MENDED_TOO_OFTEN = "mended-too-often"

    # While a deployment is removed.
    KEPT_FOR_A_WHILE = "kept-for-a-while"
    NOT_SELECTED = "not-selected"
    REPLACING_FILES = "replacing-files"

    # Why a model is no deployment of this host.
    NAME_NOT_ALLOWED = "name-not-allowed"
    NOT_ALLOWED = "not-allowed"

    UNKNOWN = "unknown"
    """A document of another version of this product has a word that this one does not know."""

    @classmethod
    def _missing_(cls, value: object) -> "Reason | None":
        """Read a word that this version does not have as `UNKNOWN`.

        None, which makes an error of it as in every enum, for what is not even a word.
        """
        is_word = isinstance(value, str)
        return cls.UNKNOWN if is_word else None


DOING = {Step.FETCH: Reason.FETCHING, Step.BUILD: Reason.BUILDING, Step.VERIFY: Reason.VERIFYING}
"""The reason while a step is done."""
FAILED = {Step.FETCH: Reason.FETCH_FAILED, Step.BUILD: Reason.BUILD_FAILED, Step.VERIFY: Reason.VERIFY_FAILED}
"""The reason once a step has failed."""
