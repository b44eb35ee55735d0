"""From the settings to what the core is told of them.

The core does not know the settings: it has dataclasses of its own, each for one subject. Their fields are called as the
settings are, wherever they are the same, so that `pick` copies them.
"""

from dataclasses import fields
from typing import Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel

from reconciler.core.planner.bridge_values import BridgeSettings
from reconciler.core.planner.compose_values import ComposeSettings
from reconciler.core.planner.guard import DesiredReleases
from reconciler.core.planner.inputs import Retention
from reconciler.core.planner.unit_values import StepSettings
from reconciler.core.registry.policy import Defaults, Policy
from reconciler.core.state.ledger import Rules
from reconciler.core.state.reason import Reason
from reconciler.core.state.release import Parameters, Rollout
from reconciler.core.state.snapshot import Snapshot
from reconciler.core.state.status import Outlook, State
from reconciler.core.units.addresses import Listening
from reconciler.settings.model import Settings


class _Dataclass(Protocol):
    __dataclass_fields__: ClassVar[dict[str, Any]]


Values = TypeVar("Values", bound=_Dataclass)


def pick(values: type[Values], section: BaseModel, **other: object) -> Values:
    """Copy from a section of the settings what a dataclass of the core has under the same names.

    `other`: fields whose value is not the setting as it is. A field that the section lacks is an AttributeError: each
    of these dataclasses is made at every start and in the tests, so that it shows at once.
    """
    same = {field.name: getattr(section, field.name) for field in fields(values) if field.name not in other}
    return values(**same, **other)


def defaults(settings: Settings) -> Defaults:
    """Pick out how this host runs a version whose tags say nothing about it."""
    return Defaults(pick(Parameters, settings.deploy), rollout_settings(settings))


def policy(settings: Settings) -> Policy:
    """Pick out what the registry may decide."""
    return pick(Policy, settings.policy, tags=frozenset(settings.policy.tags))


def listening(settings: Settings) -> Listening:
    """Pick out where deployments listen and who may speak to them."""
    return pick(Listening, settings.deploy, address=str(settings.deploy.address))


def bridge_settings(settings: Settings) -> BridgeSettings:
    """Pick out how requests over NATS are answered."""
    return pick(BridgeSettings, settings.nats)


def compose_settings(settings: Settings) -> ComposeSettings:
    """Pick out how releases run in containers."""
    nats = settings.nats
    return pick(
        ComposeSettings,
        settings.compose,
        registry_uri=settings.registry.uri,
        result_subject=nats.result_subject,
        bucket=nats.bucket,
        s3_endpoint_url=nats.s3_endpoint_url,
        extension=nats.extension,
    )


def rollout_settings(settings: Settings) -> Rollout:
    """Pick out how releases come into service."""
    return pick(Rollout, settings.deploy)


def retention(settings: Settings) -> Retention:
    """Pick out what is kept, and for how long."""
    deploy = settings.deploy
    return Retention(releases=deploy.keep_releases, removal_grace=deploy.removal_grace)


def rules(settings: Settings) -> Rules:
    """Pick out what may be removed without a person's yes."""
    section = settings.reconcile
    # Rules is no dataclass: the ledger keeps it in a file.
    return Rules(prune_from=section.prune_from, prune_share=section.prune_share, prune_unknown=section.prune_unknown)


def not_deployable(snapshot: Snapshot, desired: DesiredReleases) -> list[Outlook]:
    """Report the selected models that no host could deploy, except those that `desired` tells of."""
    state, reason = State.NOT_DEPLOYABLE, Reason.NAME_NOT_ALLOWED
    untold = [model for model in snapshot.not_deployable if model.name not in desired]
    return [Outlook(name=model.name, state=state, reason=reason, message=model.why) for model in untold]


def step_settings(settings: Settings) -> StepSettings:
    """Pick out what the release steps are told."""
    # The same word, such as `deadline`, is in several of these sections, so that the names here are others.
    return StepSettings(
        registry_uri=settings.registry.uri,
        workspace=settings.registry.workspace,
        registry_timeout=settings.registry.timeout,
        plain_http=settings.registry.plain_http,
        fetch_deadline=settings.fetch.deadline,
        fetch_schemes=settings.fetch.schemes,
        fetch_hosts=settings.fetch.hosts,
        s3_endpoint_url=settings.fetch.s3_endpoint_url,
        s3_region=settings.fetch.s3_region,
        s3_plain_http=settings.fetch.s3_plain_http,
        max_size=settings.fetch.max_size,
        max_files=settings.fetch.max_files,
        keep_free=settings.fetch.keep_free,
        verify_command=settings.fetch.verify_command,
        build_deadline=settings.build.deadline,
        index_url=settings.build.index_url,
        find_links=settings.build.find_links,
        offline=settings.build.offline,
        allow_source=settings.build.allow_source,
        require_hashes=settings.build.require_hashes,
        ignore_index_options=settings.build.ignore_index_options,
        pythons=settings.build.pythons,
        python_mirror=settings.build.python_mirror,
        python_list=settings.build.python_list,
    )
