"""The settings of a host: every section and key, its type, its default and its bounds.

A section is a class, a key is a field. config/config.toml is the reference for people: a test compares its keys and
defaults with these. How to add one is in docs/developing.md.
"""

from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import BaseModel, Field, IPvAnyAddress, create_model, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from reconciler.core.state.release import Parameters, Rollout
from reconciler.core.state.setting_kinds import (
    NotNegativeSize,
    PositiveSize,
    RuntimeName,
    Seconds,
    SecondsOrNone,
    declarations,
)
from reconciler.core.state.snapshot import MAX_REPORTS, Choose, Source
from reconciler.core.text.brokers import Broker
from reconciler.core.text.sizes import CpuQuota
from reconciler.core.units.names import MAX_REPLICAS
from reconciler.core.units.sandbox_openings import Device, Network
from reconciler.settings.values import (
    Account,
    Address,
    AddressOrDirectory,
    Bucket,
    Command,
    Extension,
    Host,
    HostName,
    Image,
    MetricsFile,
    Mode,
    NamePattern,
    Namespace,
    NumericUser,
    OptionalAddressOrDirectory,
    OptionalFile,
    OptionalServer,
    PublicUrl,
    RecordingKind,
    Region,
    Ring,
    Scheme,
    Selector,
    StorageClass,
    Subject,
    TagKey,
    Word,
    Workspace,
    wrong,
)

ENVIRONMENT_PREFIX = "MLFLOW_RECONCILER_"


class _Section(BaseModel, frozen=True, extra="forbid", hide_input_in_errors=True):
    """A table of config.toml. What it refuses is never repeated in an error: it may be a password."""


_USUAL_SELECTORS = ("stage:Production",)


class RegistrySettings(_Section, frozen=True):
    """The MLflow server and what of it is wanted here."""

    uri: Address = "http://127.0.0.1:5000"
    workspace: Workspace = ""
    """The server's workspace that is read, where it has several; "" is what the server takes by itself."""
    selectors: Annotated[tuple[Selector, ...], Field(min_length=1, max_length=16)] = _USUAL_SELECTORS
    choose: Choose = "first"
    """Whether the first selector that matches decides, or the newest of all versions that selectors match."""
    rings: Annotated[tuple[Ring, ...], Field(max_length=16)] = ()
    """Aliases by which versions reach the hosts, in the order in which they do: those of the first ring come first."""
    ring: Ring | Literal[""] = ""
    """The ring of this host, which takes the place of `selectors` and `choose`; "" is none."""
    poll_interval: Seconds = 10
    timeout: Seconds = 5
    """Seconds that one complete reading of the registry may take."""
    plain_http: bool = False
    """Whether credentials may be sent to a registry elsewhere over plain HTTP."""
    report: bool = True
    """Whether the agent writes `deployed.<host>` tags to the model versions."""

    @model_validator(mode="after")
    def _ring_is_one_of_the_rings(self) -> Self:
        """Refuse a ring that is none, and selectors that would not count beside it."""
        if not self.ring:
            return self
        if self.ring not in self.rings:
            raise wrong("ring: should be one of registry.rings")
        if self.selectors != _USUAL_SELECTORS or self.choose != "first":
            raise wrong("ring: should stand alone: leave registry.selectors and registry.choose out, or the ring")
        return self

    @property
    def source(self) -> Source:
        """Which registry is read, and what of it is wanted here.

        A host of a ring takes what its own ring or a later one names, and of these the newest: when a version has gone
        through all rings, the first ring need not be told again.
        """
        selectors, choose = self.selectors, self.choose
        if self.ring:
            later = self.rings[self.rings.index(self.ring) :]
            selectors, choose = tuple(f"alias:{ring}" for ring in later), "newest"
        return Source(registry=self.uri, workspace=self.workspace, selectors=selectors, choose=choose)


# The keys that are declared at the fields of `Parameters` and `Rollout`, with the types and defaults of settings. They
# are made when the program runs, so that a type checker is told about them apart: by the fields themselves.
if TYPE_CHECKING:

    class _ReleaseSettings(_Section, Parameters, Rollout, frozen=True):
        """Has the fields of both, and none of their methods."""

else:
    _ReleaseSettings = create_model(
        "_ReleaseSettings",
        __base__=_Section,
        **{
            key: (declaration.kind.setting, declaration.in_settings)
            for key, declaration in {**declarations(Parameters), **declarations(Rollout)}.items()
        },
    )


class DeploySettings(_ReleaseSettings, frozen=True):
    """How releases run, unless a tag that the policy allows says otherwise.

    Declared here is what is the same for all releases of this host. The fields of `Parameters` and `Rollout` in
    core/state/release.py are keys of this section, too.
    """

    address: IPvAnyAddress = IPv4Address("127.0.0.1")
    """The address of this host that deployments listen at."""
    peers: tuple[Network, ...] = ()
    """Networks whose clients may speak to them, beside this host itself."""
    public_url: PublicUrl = ""
    """Where clients elsewhere ask a deployment; `{name}` and `{port}` stand for its own. "" is that nobody says."""
    port_range: tuple[int, int] = (20000, 20999)
    socket_user: Account = "root"
    socket_group: Account = "mlflow-clients"
    socket_mode: Mode = "0660"
    """Who may open the unix socket."""
    hand_over_timeout: Seconds = 5
    """Seconds within which a server must step aside, or come back; afterwards it is stopped."""
    keep_releases: Annotated[int, Field(ge=0, le=100)] = 1
    """Releases that served before and are kept, to go back to."""
    removal_grace: SecondsOrNone = 600
    """Seconds during which the files of a deployment that is no longer selected are kept."""
    verify_interval: SecondsOrNone = 3600
    """Seconds after which the files of what serves are compared with their digests again; 0 is never."""

    # What a check of several keys says begins with the key to mend, which `load` then names.

    @model_validator(mode="after")
    def _replicas_do_not_idle(self) -> Self:
        """Refuse what `policy` refuses in tags, too: the next request would start only one of the replicas."""
        ends_when_idle = self.idle_timeout > 0
        if ends_when_idle and self.replicas > 1:
            raise wrong("idle_timeout: should be 0 where there is more than one replica")
        return self

    @model_validator(mode="after")
    def _peers_of_an_open_address_are_named(self) -> Self:
        """Refuse an address that others can reach before somebody has thought of who they are."""
        is_open = not self.address.is_loopback
        if is_open and not self.peers:
            raise wrong("address: should be a loopback address, or deploy.peers should name who may speak to it")
        return self

    @model_validator(mode="after")
    def _ports_make_a_range(self) -> Self:
        """Refuse a range that is empty, and the ports that belong to services of root's."""
        low, high = self.port_range
        if not 1024 <= low <= high <= 65535:
            raise wrong("port_range: should be [lowest, highest] within 1024 and 65535")
        return self


class FetchSettings(_Section, frozen=True):
    """How model versions are downloaded."""

    deadline: Seconds = 1800
    schemes: Annotated[tuple[Scheme, ...], Field(min_length=1)] = (
        "mlflow-artifacts",
        "s3",
        "gs",
        "wasbs",
        "abfss",
        "http",
        "https",
    )
    hosts: tuple[Host, ...] = ()
    """Servers and buckets, beside the registry's own server, that artifacts may be downloaded from."""
    s3_endpoint_url: OptionalServer = ""
    """The one server that has the buckets of `s3://`; "" where the host has none."""
    s3_region: Region = ""
    """The region that requests to it are signed for; "" is `us-east-1`, which servers take that know no regions."""
    s3_plain_http: bool = False
    """Whether it may be asked over plain HTTP though it is on another host."""
    max_size: NotNegativeSize = 20 * 1024**3
    """Bytes of one model version; 0 is no limit."""
    max_files: Annotated[int, Field(ge=1, le=1_000_000)] = 10_000
    keep_free: NotNegativeSize = 1024**3
    """Bytes that stay free on the file system of the deploy directories."""
    verify_command: Command = ()
    """A program of root's and its arguments, which must agree to the files of a version; none if empty."""


class BuildSettings(_Section, frozen=True):
    """Where the packages of a model's environment may come from."""

    deadline: Seconds = 1800
    index_url: OptionalAddressOrDirectory = ""
    find_links: tuple[AddressOrDirectory, ...] = ()
    offline: bool = False
    allow_source: bool = False
    ignore_index_options: bool = False
    """Whether options in a model's requirements that say where packages come from count for nothing."""
    pythons: Literal["system", "managed"] = "system"
    """Whether environments are made from the host's own interpreters only, or also from those that uv downloads."""
    python_mirror: OptionalAddressOrDirectory = ""
    """Where uv downloads interpreters from, in place of its own server; "" is that."""
    python_list: OptionalFile = ""
    """A list of interpreters in uv's form, in place of the list inside uv; "" is that."""
    require_hashes: bool = False
    """Whether only files are installed whose hash is known before."""

    @model_validator(mode="after")
    def _what_builds_has_no_hash(self) -> Self:
        """Refuse two rules that contradict each other, instead of having one of them win."""
        if self.require_hashes and self.allow_source:
            raise wrong("require_hashes: should be false where allow_source is true: what builds a package has no hash")
        return self


class NatsSettings(_Section, frozen=True):
    """How requests are answered that come over NATS, of the deployments that `deploy.brokers` is set for."""

    jetstream: Literal["auto", "require", "never"] = "auto"
    result_subject: Subject = "result_updates"
    plain_text: bool = False
    """Whether a login may be sent to a broker on another host without TLS."""
    bucket: Bucket = "audio-files"
    s3_endpoint_url: OptionalServer = ""
    """The server with the recordings."""
    s3_region: Region = ""
    s3_plain_http: bool = False
    """Whether it may be asked over plain HTTP though it is on another host."""
    recordings: Annotated[tuple[RecordingKind, ...], Field(max_length=32)] = (
        "aceite",
        "sustentada",
        "parlenda",
        "frase",
    )
    optional_recordings: Annotated[tuple[RecordingKind, ...], Field(max_length=32)] = ("frase",)
    """Those of them that a request may lack."""
    extension: Extension = ".wav"
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Requests that a bridge answers at once."""
    deadline: Seconds = 600
    """Seconds within which a request is answered or given up."""
    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """How often a model is asked that fails."""
    max_message: PositiveSize = 1024**2
    max_recording: PositiveSize = 32 * 1024**2
    keep_results: Seconds = 86_400
    """Seconds for which the broker keeps what was answered, where it has JetStream."""

    @model_validator(mode="after")
    def _optional_recordings_are_recordings(self) -> Self:
        """Refuse a name that is in the second list alone: nobody would ever fetch it."""
        if not set(self.optional_recordings) <= set(self.recordings):
            raise wrong("optional_recordings: should be some of nats.recordings")
        return self


class ComposeSettings(_Section, frozen=True):
    """How releases run in containers, of the deployments that `deploy.runtime` is `compose` for."""

    engine: Literal["docker", "podman"] = "docker"
    image: Image = ""
    """What they run; "" where `base` says it."""
    base: Image = ""
    """An image with this host's Python, in which our own server runs with the release's model and environment."""
    command: Annotated[tuple[Word, ...], Field(max_length=64)] = ()
    """What is run in `image`; empty is the image's own."""
    http_socket: OptionalFile = ""
    """Where `image` speaks HTTP, a unix socket in the container; "" where it takes its requests elsewhere."""
    user: NumericUser = "65532:65532"
    network: Literal["none", "bridge", "host"] = "none"

    @model_validator(mode="after")
    def _has_one_image(self) -> Self:
        """Refuse two ways to say what runs."""
        if self.image and self.base:
            raise wrong("base: should be empty where compose.image says what runs")
        of_image = self.command or self.http_socket
        if of_image and not self.image:
            raise wrong("image: should be there where compose.command or compose.http_socket is: they are the image's")
        # The directory becomes memory of the container's, in which nothing of the image is seen.
        if self.http_socket.rpartition("/")[0] in ("", "/tmp") and self.http_socket:  # noqa: S108 - in the container
            raise wrong("http_socket: should be in a directory of its own, such as /run/server/http.sock")
        return self


class KubernetesSettings(_Section, frozen=True):
    """How releases run in a cluster, on the host that looks after a namespace of it."""

    namespace: Namespace = "mlflow-models"
    image: Image = ""
    """The product's own image, from which nodes run all steps and servers; "" on hosts that have no cluster."""
    user: Annotated[int, Field(ge=1000, le=2_000_000_000)] = 65532
    """The number of the user that fetches, builds and verifies; servers have the next one."""
    storage: PositiveSize = 20 * 1024**3
    """Bytes of the volume for the files of one version and its environment."""
    storage_class: StorageClass = ""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] = "ReadWriteOnce"
    """Whether servers on several nodes can have the volume at once."""
    require_network_policy: bool = True
    """Whether servers only start where the cluster holds them to their NetworkPolicy."""


class ReconcileSettings(_Section, frozen=True):
    """The rhythm of the reconciler."""

    mode: Literal["automatic", "confirm"] = "automatic"
    """Whether changes are made at once, or wait until an operator applies the plan that shows them."""
    interval: Seconds = 30
    retry_min: Seconds = 10
    retry_max: Seconds = 600
    job_timeout: Seconds = 30
    parallel_steps: Annotated[int, Field(ge=1, le=1000)] = 4
    """Downloads, builds and verifications that run at once."""
    parallel_starts: Annotated[int, Field(ge=0, le=1000)] = 0
    """Servers that load at once; 0 is one for each processor, and two at least."""
    mend_budget: Annotated[int, Field(ge=1, le=1000)] = 5
    mend_window: Seconds = 300
    """A deployment that needed `mend_budget` repairs within `mend_window` seconds is left to a person."""
    prune_from: Annotated[int, Field(ge=1, le=10_000)] = 3
    prune_share: Annotated[int, Field(ge=0, le=100)] = 50
    """Removing `prune_from` deployments or more at once, and more than `prune_share` percent, needs a person's yes."""
    prune_unknown: bool = False
    """Whether a deployment is removed without one when the registry no longer shows its model at all."""
    log_actions: bool = False
    """Whether each action is a line of the journal, at the level of debugging."""

    @model_validator(mode="after")
    def _retries_grow(self) -> Self:
        """Refuse a longest delay that is shorter than the first."""
        if self.retry_max < self.retry_min:
            raise wrong("retry_max: should be at least retry_min")
        return self


class RolloutSettings(_Section, frozen=True):
    """When a version may come to this host."""

    after: Annotated[tuple[HostName, ...], Field(max_length=MAX_REPORTS)] = ()
    """Hosts that have to report a version as serving, with its soak behind it, before it begins here."""


class MetricsSettings(_Section, frozen=True):
    """What is measured, for a monitoring that this host has already."""

    textfile: MetricsFile = ""
    """A file in the directory of node_exporter's textfile collector; "" writes none."""


class PolicySettings(_Section, frozen=True):
    """What whoever may write to the registry can have this host run; what is not listed is refused."""

    names: tuple[NamePattern, ...] = ()
    """Models that may be deployed, as names or patterns with `*`."""
    runtimes: tuple[RuntimeName, ...] = ("native",)
    networks: tuple[Network, ...] = ()
    """Networks that a tag may open to a model."""
    devices: tuple[Device, ...] = ()
    """Devices that a tag may open to a model."""
    brokers: tuple[Broker, ...] = ()
    """NATS servers that a tag may name."""
    max_memory: NotNegativeSize = 16 * 1024**3
    """Bytes of one server; 0 is no maximum."""
    max_cpu: CpuQuota = 800
    """Percent of one CPU; 0 is no maximum."""
    max_replicas: Annotated[int, Field(ge=1, le=MAX_REPLICAS)] = 4
    max_deployments: Annotated[int, Field(ge=1, le=10_000)] = 100
    require_example: bool = False
    """Whether a version is refused that has no example which its server can replay before it serves."""
    tags: tuple[TagKey, ...] = (
        "environment",
        "start_timeout",
        "memory_max",
        "cpu_quota",
        "strategy",
        "idle_timeout",
    )


class Settings(BaseSettings):
    """All settings of a host, never changed once made; `load.load` is the way to get them."""

    model_config = SettingsConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        env_prefix=ENVIRONMENT_PREFIX,
        env_nested_delimiter="__",
    )

    registry: RegistrySettings = RegistrySettings()
    deploy: DeploySettings = DeploySettings()
    fetch: FetchSettings = FetchSettings()
    build: BuildSettings = BuildSettings()
    nats: NatsSettings = NatsSettings()
    compose: ComposeSettings = ComposeSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
    rollout: RolloutSettings = RolloutSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    metrics: MetricsSettings = MetricsSettings()
    policy: PolicySettings = PolicySettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic-settings'
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Let the environment win over the files, whose content `load` passes as arguments."""
        return env_settings, init_settings


def known_keys() -> tuple[str, ...]:
    """List every key as section.key."""
    keys: list[str] = []
    for name, field in Settings.model_fields.items():
        section = field.annotation
        # All of them are sections; pydantic's types do not say so.
        if isinstance(section, type) and issubclass(section, BaseModel):
            keys += (f"{name}.{key}" for key in section.model_fields)
    return tuple(keys)
