"""Why a unit failed, in the words of the unit itself or, where it could not speak, in ours."""

from reconciler.core.text.quote import one_line
from reconciler.core.units import names, status_lines
from reconciler.core.units.observed import Unit

MAX_REASON = 1000

_RESULTS = {
    "timeout": "it did not get ready within its start timeout",
    "oom-kill": "it was killed for using more memory than it may",
    "signal": "it was killed by a signal",
    "core-dump": "it crashed",
    "protocol": "it ended before it was ready",
    "watchdog": "it no longer answered systemd's watchdog",
    "exit-code": "it ended with an error",
    "start-limit-hit": "it was started too often",
    "resources": "systemd could not set it up",
}
# What systemd could not do before the unit's own program began (systemd.exec(5), "Process Exit Codes").
_SETUPS = {
    203: "systemd could not execute its program",
    217: "systemd could not find its user",
    226: "systemd could not set up its sandbox, perhaps a directory that it needs is gone",
    **dict.fromkeys((233, 238, 239, 240), "systemd could not make its directory, perhaps the disk is full"),
    243: "systemd could not read its credentials",
}


def is_the_hosts_fault(unit: Unit) -> bool:
    """Tell whether a server failed for what is no fault of its release: systemd says that it did not even begin."""
    return unit.result == "resources" or unit.set_up is False


def may_be_the_hosts_fault(unit: Unit) -> bool:
    """Tell whether a server says that the host failed it: its process can say so as it likes, so for a few tries."""
    unwitnessed = unit.set_up is None and unit.exit_status in _SETUPS
    return not unit.ever_active and (unwitnessed or status_lines.blames_the_host(unit.words))


def why_failed(unit: Unit) -> str:
    """Say in one sentence why a unit failed. What the unit said is shortened and kept to printable characters."""
    said = one_line(unit.words, MAX_REASON)
    if status_lines.says_why_it_failed(said) and unit.result != "timeout":
        return said
    what = _subject(unit)
    if unit.active == "reloading":
        return (
            f"cannot {what}: it told systemd that it reloads, which a server never does; see journalctl -u {unit.name}"
        )
    if unit.has_finished_well:
        return f"cannot {what}: it did not say which environment the version needs; see journalctl -u {unit.name}"
    reason = _RESULTS.get(unit.result, f"systemd says {unit.result!r}")
    if unit.result == "success":
        reason = "systemd does not say how it ended, perhaps its directories could not be removed"
    if unit.result == "exit-code":
        reason = _RESULTS["resources"] if unit.set_up is False else reason
        reason = reason if unit.set_up or unit.ever_active else _SETUPS.get(unit.exit_status, reason)
    if unit.result == "timeout" and names.parse_server(unit.name) is None:
        reason = "it was not done before its deadline"
    if unit.active != "failed" and unit.result != "timeout":
        reason = _how_often(unit, reason if unit.result in _RESULTS else "")
    doing = f" (it last said: {said})" if said else ""
    return f"cannot {what}: {reason}{doing}; see journalctl -u {unit.name}"


def _how_often(unit: Unit, reason: str) -> str:
    """Say how often a unit ended that systemd starts again and again, and why the last time, if that is known."""
    when = "while it served" if unit.ever_active else "before it got ready"
    if unit.ends <= 1:
        return f"{reason} {when}" if reason else f"it ended {when}"
    return f"it ended {unit.ends} times {when}" + (f", the last time {reason}" if reason else "")


def _subject(unit: Unit) -> str:
    if step := names.parse_step(unit.name):
        return f"{step.step} version {step.version} of {step.name}"
    if server := names.parse_server(unit.name):
        verb = "keep" if unit.ever_active else "start"
        return f"{verb} version {server.release.version} of {server.name}"
    if names.parse_build(unit.name):
        return "build the environment"
    return f"start {unit.name}"
