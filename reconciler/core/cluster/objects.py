"""The few fields of Kubernetes' objects that are read, as the API has them; all others are passed over."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, alias_generator=to_camel)


class Metadata(_Part):
    """What every object has."""

    name: str
    uid: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    generation: int = 0
    """Counts the changes of what is asked for; 0 for kinds that do not count."""
    resource_version: str = ""
    deletion_timestamp: str | None = None


class Condition(_Part):
    """One thing that is so or not."""

    type: str
    status: str = "Unknown"
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    """When it became so, as the API writes moments."""


class Terminated(_Part):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""


class Waiting(_Part):
    """Why a container has not begun."""

    reason: str = ""
    message: str = ""


class ContainerState(_Part):
    """What a container does: one of the two, or neither while it runs."""

    terminated: Terminated | None = None
    waiting: Waiting | None = None


class ContainerStatus(_Part):
    """A container of a pod."""

    name: str
    ready: bool = False
    restart_count: int = 0
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class Status(_Part):
    """What is so, of any kind of object that is read."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    available_replicas: int = 0
    conditions: tuple[Condition, ...] = ()
    start_time: str | None = None
    """When the node of a pod took note of it, as the API writes moments."""
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()

    def condition(self, kind: str) -> Condition:
        """Return a condition; one that nobody knows where the object does not have it."""
        return next((one for one in self.conditions if one.type == kind), Condition(type=kind))

    @property
    def containers(self) -> tuple[ContainerStatus, ...]:
        """The containers of a pod in the order in which they begin."""
        return (*self.init_container_statuses, *self.container_statuses)


class Spec(_Part):
    """What is asked for."""

    replicas: int = 1


class Object(_Part):
    """One object."""

    kind: str
    metadata: Metadata
    spec: Spec = Spec()
    status: Status = Status()
    data: dict[str, str] = Field(default_factory=dict)
    """Of a ConfigMap."""

    @property
    def is_up_to_date(self) -> bool:
        """Whether its status is about what is asked for now."""
        return self.status.observed_generation >= self.metadata.generation

    @property
    def unit(self) -> str:
        """Kind and name, as kubectl takes them: `Deployment/model-demo`."""
        return f"{self.kind}/{self.metadata.name}"

    @property
    def is_going(self) -> bool:
        """Whether the cluster removes it already."""
        return self.metadata.deletion_timestamp is not None

    @property
    def may_have_served(self) -> bool:
        """Whether a pod may have been ready once: then it was in its Service, and clients could reach it.

        One that never was is "not ready" since its node took note of it, before it started anything.
        """
        ready, began = self.status.condition("Ready"), self.status.start_time
        never_was = ready.status != "True" and began is not None and ready.last_transition_time == began
        return not never_was

    @property
    def marker(self) -> str:
        """What changes when somebody asks for something else in it; of kinds that count no such changes, any change."""
        counted = self.metadata.generation
        return f"{self.metadata.uid}:{counted or self.metadata.resource_version}"
