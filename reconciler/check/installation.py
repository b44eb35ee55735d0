"""Looks an installation over: each finding says what is wrong and the command or the change that mends it."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from reconciler.adapters.systemctl import show
from reconciler.apply.render import RenderError
from reconciler.check import containers, host, limits, modes, pythons, registry, space, stores, watches
from reconciler.check.host import INSTALL_AGAIN, Finding
from reconciler.core.planner import unit_values
from reconciler.core.planner.actions import Render
from reconciler.core.planner.bridge_values import bridge
from reconciler.core.planner.compose_unit import render_compose_unit
from reconciler.core.state.as_of_now import AGENT, RECONCILER
from reconciler.core.state.release import COMPOSE, Parameters, Release
from reconciler.core.state.status import State
from reconciler.core.units import names, paths
from reconciler.daemon.desired import bridge_settings, compose_settings, listening, step_settings
from reconciler.files.status_file import NoStatusError, read_status
from reconciler.settings.load import SettingsError, load, settings_files
from reconciler.settings.model import Settings

Look = Callable[[Settings], Iterator[Finding]]
SHOWN = ("LoadState", "ActiveState", "SubState", "NRestarts", "UnitFileState", "NeedDaemonReload", "MainPID")


def findings(config: Path | None) -> list[Finding]:
    """Look at everything. Missing modules and wrong settings end the look: most of the rest depends on them.

    Code that needs those modules is imported where it is used, so that their absence becomes a finding.
    """
    missing = list(host.modules())
    if missing:
        return missing
    try:
        settings = load(config)
        files = settings_files(config)
    except SettingsError as error:
        return [Finding(str(error), "change what the sentence names, then run reconciler check again")]
    looks = _of_a_cluster() if settings.kubernetes.image else _of_a_host()
    return [*host.files_of_settings(files), *(finding for look in looks for finding in look(settings))]


def _of_a_host() -> Sequence[Look]:
    # Users first: later looks run as them, and leave a missing user to the first.
    return (
        host.users,
        host.directories,
        host.programs,
        host.credentials,
        pythons.findings,
        containers.findings,
        modes.modes,
        stores.stores,
        watches.findings,
        _space,
        _templates,
        _foreign_units,
        _services,
        registry.policy,
        registry.other_hosts,
        registry.registry,
        _held_deployments,
    )


def _of_a_cluster() -> Sequence[Look]:
    """Return the looks at a host that looks after a cluster: it has no models, and no part of them."""
    return (
        host.users,
        host.credentials,
        _services,
        registry.policy,
        registry.other_hosts,
        registry.registry,
        _trouble,
        _held_deployments,
    )


def openings(config: Path | None) -> list[str]:
    """List what the settings open beyond what models get by themselves; [] when the settings cannot be used."""
    try:
        return host.openings(load(config))
    except SettingsError:
        return []  # a finding


def unenforced(config: Path | None) -> list[str]:
    """List the limits of the settings that do nothing on this host; [] when the settings cannot be used."""
    try:
        settings = load(config)
        return [] if settings.kubernetes.image else list(limits.unenforced(settings))
    except SettingsError:
        return []  # a finding


def known_pythons(config: Path | None) -> pythons.Pythons | None:
    """List the versions of Python that environments can be made from; None when the settings cannot be used."""
    try:
        settings = load(config)
        return None if settings.kubernetes.image else pythons.pythons(settings)
    except SettingsError:
        return None  # a finding


def _templates(settings: Settings) -> Iterator[Finding]:
    """Render every template with an example: a template of the host's own may be wrong."""
    from reconciler.daemon import wiring

    if list(host.programs(settings)):
        return  # findings of their own, and systemd refuses units without their program
    example = Release("example", 1, "models:/example/1", Parameters())
    steps, environment, place = step_settings(settings), "0" * 32, listening(settings)
    renderer = wiring.renderer()
    for render in (
        *_of_runtimes(settings, example, environment),
        unit_values.fetch(example, steps),
        unit_values.build(example, environment, steps),
        unit_values.verify(
            unit_values.Files(example.name, example.version, unit_values.source_of(example), environment), steps
        ),
        bridge(example.name, ("nats://127.0.0.1:4222",), bridge_settings(settings), place.socket_group),
    ):
        try:
            renderer.render(render)
        except RenderError as error:
            own = Path(paths.OWN_TEMPLATES) / render.template
            mend = f"mend {own}, or remove it to use the shipped one" if own.exists() else INSTALL_AGAIN
            yield Finding(str(error), mend)


def _of_runtimes(settings: Settings, example: Release, environment: str) -> Iterator[Render]:
    """Yield the units of the host's usual runtime, and of that in containers where it may be used."""
    place, compose = listening(settings), compose_settings(settings)
    in_containers = [COMPOSE] if containers.may_be_used(settings) else []
    for runtime in dict.fromkeys((settings.deploy.runtime, *in_containers)):
        release = replace(example, parameters=Parameters(runtime=runtime))
        yield unit_values.slice_(release.name, runtime)
        yield unit_values.socket(release.name, release.id, runtime, settings.deploy.port_range[0], place)
        yield unit_values.server(release, environment, place, None, compose=compose)
    if in_containers:
        yield render_compose_unit(example.name, compose)


def _foreign_units(_settings: Settings) -> Iterator[Finding]:
    from reconciler.daemon import wiring

    foreign = wiring.unit_files().observe().foreign
    for unit in sorted(foreign):
        name = names.parse_compose(unit)
        if name is not None:
            what = f"{unit} was made by hand; it is left alone, and answers the requests of {name} over NATS"
            yield Finding(what, f"reconciler adopt {name}, if the deployment {name} is to answer them")
            continue
        yield Finding(
            f"the unit {unit} has a name of a model's unit but was made by somebody else; it is left alone",
            f"systemctl disable --now {unit}, and move its file away",
        )


def _services(_settings: Settings) -> Iterator[Finding]:
    """Find what keeps the agent and the reconciler from running, now and after a boot."""
    # systemd 257 says so of every unit, also of those without a file, once something is enabled or disabled.
    says_so_of_all = _show("init.scope")["NeedDaemonReload"] == "yes"
    for service in (AGENT, RECONCILER):
        shown = _show(service)
        fault = _fault_of(service, shown)
        if fault is not None:
            yield fault
        if shown["NeedDaemonReload"] == "yes" and not says_so_of_all:
            yield Finding(
                f"the unit of {service} was changed and systemd still uses the old one",
                f"systemctl daemon-reload && systemctl restart {service}",
            )


def _fault_of(service: str, shown: dict[str, str]) -> Finding | None:
    """Return the first fault of a service, of which the later ones are consequences."""
    load, state = shown["LoadState"], shown["ActiveState"]
    start = f"systemctl enable --now {service}"
    if load == "masked":
        return Finding(f"{service} is masked", f"systemctl unmask {service} && {start}")
    if load == "not-found":
        return Finding(f"{service} is not installed", INSTALL_AGAIN)
    if state == "inactive":
        return Finding(f"{service} is inactive", start)
    is_in_its_first_start = shown["SubState"] == "start" and shown["NRestarts"] == "0"
    if state != "active" and not is_in_its_first_start:
        return Finding(
            f"{service} does not stay up; see journalctl -u {service} for the reason",
            f"mend the reason, then systemctl restart {service}",
        )
    if shown["UnitFileState"] != "enabled":
        return Finding(f"{service} would not start at boot", f"systemctl enable {service}")
    return None


def _space(settings: Settings) -> Iterator[Finding]:
    return space.space(settings, int(_show(RECONCILER)["MainPID"] or 0))


def _trouble(_settings: Settings) -> Iterator[Finding]:
    """Find what the reconciler says that it cannot do, such as to reach the cluster."""
    try:
        trouble = read_status().trouble
    except NoStatusError:
        return  # a finding of its own
    if trouble:
        yield Finding(trouble, f"mend that; journalctl -u {RECONCILER} has more")


def _held_deployments(_settings: Settings) -> Iterator[Finding]:
    """Find deployments that wait for a person: changed settings may be the reason, and nobody may have looked."""
    try:
        deployments = read_status().deployments
    except NoStatusError:
        return  # a finding of its own
    held = [deployment.name for deployment in deployments if deployment.state is State.HELD]
    if held:
        what = f"held back until a person confirms it: {', '.join(held)}"
        yield Finding(what, "reconciler apply lists the reasons and the commands")


def _show(service: str) -> dict[str, str]:
    """Read properties of a service from systemd; "" for one that it does not show."""
    return show([service], SHOWN).get(service, dict.fromkeys(SHOWN, ""))
