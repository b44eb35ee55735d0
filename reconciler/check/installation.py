"""Looks an installation over: each finding says what is wrong and the command or the change that mends it."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

from reconciler.apply.render import RenderError
from reconciler.check import host, modes, space
from reconciler.check.host import INSTALL_AGAIN, Finding
from reconciler.core.planner import unit_values
from reconciler.core.state.release import Parameters, Release
from reconciler.core.state.status import State
from reconciler.core.units import paths, status_lines
from reconciler.daemon.desired import listening, step_settings
from reconciler.files.status_file import NoStatusError, read_status
from reconciler.settings.load import SettingsError, load, settings_files
from reconciler.settings.model import Settings

AGENT, RECONCILER = "mlflow-registry-agent.service", "mlflow-reconciler.service"
SHOWN = ("LoadState", "ActiveState", "SubState", "NRestarts", "UnitFileState", "NeedDaemonReload", "MainPID")

__all__ = ["Finding", "findings"]


def findings(config: Path | None) -> list[Finding]:
    """Look at everything; missing modules and wrong settings end the look, because most of the rest depends on them.

    What needs those modules is imported where it is used, so that their absence can be told.
    """
    if missing := list(host.modules()):
        return missing
    try:
        settings = load(config)
        files = settings_files(config)
    except SettingsError as error:
        return [Finding(str(error), "change what the sentence names, then run reconciler check again")]
    looks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        host.users,
        host.directories,
        host.programs,
        host.credentials,
        modes.modes,
        _space,
        _templates,
        _foreign_units,
        _services,
        _registry,
        _held,
    )
    return [*host.files_of_settings(files), *(finding for look in looks for finding in look(settings))]


def opened(config: Path | None) -> list[str]:
    """Tell what the settings open beyond what models get by themselves; nothing of settings that cannot be used."""
    try:
        return host.openings(load(config))
    except SettingsError:
        return []  # a finding


def _templates(settings: Settings) -> Iterator[Finding]:
    """Render every template with an example; a file of the host's own may be what is wrong."""
    from reconciler.daemon import wiring

    if list(host.programs(settings)):
        return  # findings of their own, and systemd refuses units whose program it cannot see
    example = Release("example", 1, "models:/example/1", Parameters(runtime=settings.deploy.runtime))
    steps, environment, place = step_settings(settings), "0" * 32, listening(settings)
    renderer = wiring.renderer()
    for render in (
        unit_values.slice_(example.name, example.parameters.runtime),
        unit_values.socket(example.name, example.id, example.parameters.runtime, settings.deploy.port_range[0], place),
        unit_values.fetch(example, steps),
        unit_values.build(example, environment, steps),
        unit_values.verify(
            unit_values.Files(example.name, example.version, unit_values.source_of(example), environment), steps
        ),
        unit_values.server(example, environment, place),
    ):
        try:
            renderer.render(render)
        except RenderError as error:
            own = Path(paths.OWN_TEMPLATES) / render.template
            mend = f"mend {own}, or remove it to use the shipped one" if own.exists() else INSTALL_AGAIN
            yield Finding(str(error), mend)


def _foreign_units(_settings: Settings) -> Iterator[Finding]:
    from reconciler.daemon import wiring

    _, foreign = wiring.unit_files().observe()
    for unit in sorted(foreign):
        yield Finding(
            f"the unit {unit} has a name of a model's unit but was made by somebody else; it is left alone",
            f"systemctl disable --now {unit}, and move its file away",
        )


def _services(_settings: Settings) -> Iterator[Finding]:
    for service in (AGENT, RECONCILER):
        shown = _show(service)
        load, state = shown["LoadState"], shown["ActiveState"]
        start = f"systemctl enable --now {service}"
        if load == "masked":
            yield Finding(f"{service} is masked", f"systemctl unmask {service} && {start}")
        elif load == "not-found":
            yield Finding(f"{service} is not installed", INSTALL_AGAIN)
        elif state == "inactive":
            yield Finding(f"{service} is inactive", start)
        elif state != "active" and (shown["SubState"] != "start" or shown["NRestarts"] != "0"):
            yield Finding(
                f"{service} does not stay up; see journalctl -u {service} for the reason",
                f"mend the reason, then systemctl restart {service}",
            )
        elif shown["UnitFileState"] != "enabled":
            yield Finding(f"{service} would not start at boot", f"systemctl enable {service}")
        if shown["NeedDaemonReload"] == "yes":
            yield Finding(
                f"the unit of {service} was changed and systemd goes by the old one",
                f"systemctl daemon-reload && systemctl restart {service}",
            )


def _space(settings: Settings) -> Iterator[Finding]:
    return space.space(settings, int(_show(RECONCILER)["MainPID"] or 0))


def _registry(settings: Settings) -> Iterator[Finding]:
    from reconciler.daemon import wiring

    if any(_show(service)["ActiveState"] != "active" for service in (AGENT, RECONCILER)):
        return  # a finding of its own
    try:
        registry = read_status().registry
    except NoStatusError as error:
        yield Finding(f"there is no status: {error}", f"systemctl restart {RECONCILER}")
        return
    problem = wiring.snapshots().read(keep=False).problem
    if registry.reachable and not problem:
        return
    if problem and not status_lines.is_about_the_registry(registry.message):
        yield Finding(problem, f"systemctl restart {AGENT}")
    else:
        yield Finding(
            f"the registry is not reachable: {registry.message}",
            f"see that the MLflow server answers at {settings.registry.uri}, or change registry.uri",
        )


def _held(_settings: Settings) -> Iterator[Finding]:
    """Deployments that wait for a person: changed settings may be why, and nobody may have looked."""
    try:
        waiting = [one.name for one in read_status().deployments if one.state is State.HELD]
    except NoStatusError:
        return  # a finding of its own
    if waiting:
        what = f"held back until a person confirms it: {', '.join(waiting)}"
        yield Finding(what, "reconciler apply says why, and what to type")


def _show(service: str) -> dict[str, str]:
    """Read what systemd shows of a service; an empty word for what it does not."""
    command = ["systemctl", "show", f"--property={','.join(SHOWN)}", service]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)  # noqa: S603 - fixed words
    pairs = (line.partition("=") for line in done.stdout.splitlines())
    return {**dict.fromkeys(SHOWN, ""), **{name: value for name, _, value in pairs}}
