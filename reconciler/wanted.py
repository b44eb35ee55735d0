"""From a snapshot and the settings to what this host should run."""

from reconciler.core.draft import Keeping
from reconciler.core.ledger import Ledger
from reconciler.core.plan import Wanted
from reconciler.core.release import Parameters, Rollout, wanted_release
from reconciler.core.snapshot import Snapshot
from reconciler.core.status import Outlook, State
from reconciler.core.units import StepSettings
from reconciler.settings import Settings


def wanted(snapshot: Snapshot, settings: Settings, ledger: Ledger) -> Wanted:
    """Give each selected version its parameters, or the reason why it gets none."""
    deploy = settings.deploy
    defaults = Parameters(
        runtime=deploy.runtime,
        environment=deploy.environment,
        start_timeout=deploy.start_timeout,
        stop_timeout=deploy.stop_timeout,
        memory_max=deploy.memory_max,
        cpu_quota=deploy.cpu_quota,
        max_body=deploy.max_body,
        watchdog=deploy.watchdog,
        idle_timeout=deploy.idle_timeout,
    )
    allowed, rollout = frozenset(settings.policy.tags), rollout_settings(settings)
    return {
        model.name: wanted_release(model, defaults, allowed, rollout, ledger.record(model.name).generation)
        for model in snapshot.models
    }


def rollout_settings(settings: Settings) -> Rollout:
    """Pick out how releases come into service."""
    deploy = settings.deploy
    return Rollout(
        strategy=deploy.strategy,
        soak=deploy.soak,
        max_error_rate=deploy.max_error_rate,
        replicas=deploy.replicas,
    )


def keeping(settings: Settings) -> Keeping:
    """Pick out what is kept, and for how long."""
    deploy, rhythm = settings.deploy, settings.reconcile
    return Keeping(
        releases=deploy.keep_releases,
        removal_grace=deploy.removal_grace,
        verify_interval=deploy.verify_interval,
        prune_from=rhythm.prune_from,
        prune_share=rhythm.prune_share,
    )


def not_deployable(snapshot: Snapshot) -> list[Outlook]:
    """Report the selected models that no host could deploy."""
    return [
        Outlook(name=one.name, state=State.NOT_DEPLOYABLE, reason="name-not-allowed", message=one.why)
        for one in snapshot.not_deployable
    ]


def step_settings(settings: Settings) -> StepSettings:
    """Pick out what the release steps are told."""
    return StepSettings(
        registry_uri=settings.registry.uri,
        registry_timeout=settings.registry.timeout,
        plain_http=settings.registry.plain_http,
        fetch_deadline=settings.fetch.deadline,
        fetch_schemes=settings.fetch.schemes,
        fetch_hosts=settings.fetch.hosts,
        max_size=settings.fetch.max_size,
        max_files=settings.fetch.max_files,
        keep_free=settings.fetch.keep_free,
        build_deadline=settings.build.deadline,
        index_url=settings.build.index_url,
        find_links=settings.build.find_links,
        offline=settings.build.offline,
        allow_source=settings.build.allow_source,
    )
