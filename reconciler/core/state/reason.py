"""Why a deployment is in its state, in one word for programs; docs/reference/states.md is made from this."""

from enum import StrEnum

from reconciler.core.units.names import Step


class Reason(StrEnum):
    """The word behind a state in the status."""

    NONE = ""
    """All is well, and the state says it all."""

    # While a release is prepared.
    FETCHING = "fetching"
    """The files are downloaded."""
    BUILDING = "building"
    """The environment is built."""
    VERIFYING = "verifying"
    """The files are compared with their digests."""
    WAITING = "waiting"
    """As many steps of other deployments run as `reconcile.parallel_steps` allows, or as many servers of others load as
    `reconcile.parallel_starts` allows."""

    # While a release is rolled out.
    STARTING = "starting"
    """The candidate loads."""
    TAKING_OVER = "taking-over"
    """The candidate takes the address."""
    SOAKING = "soaking"
    """The candidate serves and is watched."""
    GOING_BACK = "going-back"
    """The release before the candidate comes back."""

    # While the wanted version serves.
    SEVERAL_SELECTED = "several-selected"
    """The selector matches several versions; the highest serves."""
    SETTINGS_CHANGED = "settings-changed"
    """It runs as it was rolled out; the host's settings changed since."""
    NO_SNAPSHOT = "no-snapshot"
    """This host never accepted a snapshot of the registry."""

    # Why the wanted version does not serve.
    FETCH_FAILED = "fetch-failed"
    """A download failed and is tried again. Beside `serving` it is a repair of the files."""
    BUILD_FAILED = "build-failed"
    """A build of the environment failed and is tried again. Beside `serving` it is a repair."""
    VERIFY_FAILED = "verify-failed"
    """A verification failed and is tried again. Beside `serving` it is a repair of the files."""
    START_FAILED = "start-failed"
    """The release did not get ready."""
    SOCKET_FAILED = "socket-failed"
    """systemd could not start the socket."""
    ACTION_FAILED = "action-failed"
    """An action failed; it is tried again."""
    FAILED_IN_SOAK = "failed-in-soak"
    """A server of the release ended in its soak."""
    ERRORS_IN_SOAK = "errors-in-soak"
    """Too many answers in the soak were errors of the release."""
    ROLLED_BACK = "rolled-back"
    """An operator rolled the release back."""
    REFUSED = "refused"
    """This host does not accept a tag of the version, or no host could deploy it."""
    NO_EXAMPLE = "no-example"
    """The version has no logged example to try it with, and `policy.require_example` is set."""
    FILES_CHANGED = "files-changed"
    """The version has other bytes than at its first fetch."""
    NUMBER_USED_AGAIN = "number-used-again"
    """Another model has the number: the version was deleted and registered again."""
    UNIT_NOT_OURS = "unit-not-ours"
    """A unit of somebody else has the name."""
    NO_FREE_PORT = "no-free-port"
    """All ports of `deploy.port_range` are taken."""

    # What waits for a person, or was left alone by one.
    HELD = "held"
    """The removal waits for a confirmation."""
    ANOTHER_SOURCE = "another-source"
    """The replacement comes from another registry, or by other selectors."""
    NOT_CONFIRMED = "not-confirmed"
    """Every change of this host waits until an operator applies the plan (`reconcile.mode = "confirm"`)."""
    OTHER_HOSTS_FIRST = "other-hosts-first"
    """Hosts that are to have the version first do not report it as serving yet (`rollout.after`)."""
    SUSPENDED = "suspended"
    """An operator suspended it, or a unit is masked."""
    MENDED_TOO_OFTEN = "mended-too-often"
    """The budget of repairs is used up."""

    # While a deployment is removed.
    KEPT_FOR_A_WHILE = "kept-for-a-while"
    """It is stopped, and its files stay for `deploy.removal_grace` seconds."""
    NOT_SELECTED = "not-selected"
    """The deployment is being stopped or removed."""
    REPLACING_FILES = "replacing-files"
    """Its files make way for those of another model."""

    # Why a model is no deployment of this host.
    NAME_NOT_ALLOWED = "name-not-allowed"
    """The name cannot be a name on this host."""
    NOT_ALLOWED = "not-allowed"
    """`[policy]` does not allow the model, or no more models."""

    UNKNOWN = "unknown"
    """Another version of this product wrote the status, with a reason that this one does not know."""

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
