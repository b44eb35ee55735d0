"""Why a unit failed, in the words of the unit itself or, where it could not speak, in ours.

Two questions are apart. Whose fault it is decides what happens to a release: there systemd's word counts, which no
model can forge. What people read may come from the model's process, and decides nothing.
"""

from reconciler.core.text.quote import one_line
from reconciler.core.units import names, status_lines
from reconciler.core.units.observed import Unit

MAX_REASON = 1000
"""Characters of a unit's own words."""

# How systemd says that a unit ended (systemd.service(5), "Result").
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
# Which setting of `[deploy]`, or tag of the version, a server's end asks for.
_LIMITS = {"oom-kill": "deploy.memory_max", "timeout": "deploy.start_timeout"}
_SIGKILL = 9
# What systemd could not do before the unit's own program began (systemd.exec(5), "Process Exit Codes"). A program may
# end with these numbers, too: they mean this only where it did not begin.
_SETUPS = {
    203: "systemd could not execute its program",
    217: "systemd could not find its user",
    226: "systemd could not set up its sandbox, perhaps a directory that it needs is gone",
    **dict.fromkeys((233, 238, 239, 240), "systemd could not make its directory, perhaps the disk is full"),
    243: "systemd could not read its credentials",
}


def is_the_hosts_fault(unit: Unit) -> bool:
    """Tell whether a server failed without any fault of its release: systemd says that it did not even begin.

    Such a failure never counts against a release, however often it happens.
    """
    could_not_be_set_up = unit.result == "resources"
    program_did_not_begin = unit.set_up is False
    return could_not_be_set_up or program_did_not_begin


def may_be_the_hosts_fault(unit: Unit) -> bool:
    """Tell whether a server says that the host failed it, or ended as if it had.

    Its process, and so the model, can say this as it likes: the caller believes it for a few tries only. A server that
    got ready once had all that it needs from the host.
    """
    if unit.ever_active:
        return False
    # Where no command before the server could tell, its own exit status is all there is.
    nobody_can_tell = unit.set_up is None
    ended_like_a_failed_set_up = nobody_can_tell and unit.exit_status in _SETUPS
    return ended_like_a_failed_set_up or status_lines.blames_the_host(unit.words)


def why_failed(unit: Unit) -> str:
    """Say in one sentence why a unit failed.

    What the unit said itself is the sentence if it is about a failure: it knows best. It is shortened and kept to
    printable characters.
    """
    said = one_line(unit.words, MAX_REASON)
    # Who ran into a deadline was about to do what it said last, and that is not why it failed.
    ran_into_its_deadline = unit.result == "timeout"
    speaks_for_itself = status_lines.says_why_it_failed(said) and not ran_into_its_deadline
    if speaks_for_itself:
        return said
    what = _subject(unit)
    look = f"see the journal of {unit.name}"
    if unit.active == "reloading":
        return f"cannot {what}: it told systemd that it reloads, which a server never does; {look}"
    # A step that did its work and is asked about here is one whose report is missing.
    if unit.has_finished_well:
        return f"cannot {what}: it did not say which environment the version needs; {look}"
    # What it said last may show where it got stuck.
    doing = f" (it last said: {said})" if said else ""
    return f"cannot {what}: {_reason(unit)}{doing}; {_raise_the_limit(unit)}{look}"


def _raise_the_limit(unit: Unit) -> str:
    """Name the limit that a server ran into, as the first part of the remedy; empty where it was none.

    The limits of steps are fixed, or are deadlines of their own.
    """
    is_server = names.parse_server(unit.name) is not None
    limit = _LIMITS.get("oom-kill" if _may_be_out_of_memory(unit) else unit.result)
    return f"raise {limit} or its tag, or " if is_server and limit else ""


def _may_be_out_of_memory(unit: Unit) -> bool:
    """Tell whether a unit was killed as the kernel kills for memory. With cgroup v1 systemd does not know more."""
    return unit.result == "signal" and unit.exit_status == _SIGKILL


def _reason(unit: Unit) -> str:
    """Say why a unit failed by what systemd knows of it.

    A unit that systemd starts again and again is not `failed` yet: how often it ended is a part of the reason then. A
    deadline that passed is reason enough by itself.
    """
    reason = _last_end(unit)
    is_tried_again = unit.active != "failed"
    if not is_tried_again or unit.result == "timeout":
        return reason
    # While it runs again, the result is "success", however it ended before.
    says_how_it_ended = unit.result in _RESULTS
    return _how_often(unit, reason if says_how_it_ended else "")


def _last_end(unit: Unit) -> str:
    """Say what systemd knows of a unit's end, in words for people who do not know systemd's."""
    match unit.result:
        case "success":
            return "systemd does not say how it ended, perhaps its directories could not be removed"
        case "exit-code":
            return _why_it_exited(unit)
        case "signal" if _may_be_out_of_memory(unit):
            return f"{_RESULTS['signal']}, perhaps for using more memory than it may"
        case "timeout" if names.parse_server(unit.name) is None:
            return "it was not done before its deadline"
        case result:
            return _RESULTS.get(result, f"systemd says {result!r}")


def _why_it_exited(unit: Unit) -> str:
    """Say why a unit ended with an exit status.

    The status is systemd's own number where the program did not begin. Otherwise the program chose it, and its
    meaning is the program's: the journal has more.
    """
    has_begun = bool(unit.set_up) or unit.ever_active
    has_not_begun = unit.set_up is False
    usual = _RESULTS["resources"] if has_not_begun else _RESULTS["exit-code"]
    has_begun = bool(unit.set_up) or unit.ever_active
    # A server that got ready has begun, whatever came of a later start.
    if has_begun:
        return usual
    return _SETUPS.get(unit.exit_status, usual)


def _how_often(unit: Unit, reason: str) -> str:
    """Say how often a unit ended that systemd starts again and again, and why it ended the last time.

    `reason` is empty where systemd does not say why, as while the unit runs again.
    """
    when = "while it served" if unit.ever_active else "before it got ready"
    ended_several_times = unit.ends > 1
    if ended_several_times:
        last_time = f", the last time {reason}" if reason else ""
        return f"it ended {unit.ends} times {when}{last_time}"
    return f"{reason or 'it ended'} {when}"


def _subject(unit: Unit) -> str:
    """Name what failed by what it was for, as the words behind `cannot`.

    People know models and versions. The unit's name comes at the end of the sentence, where they look further.
    """
    step = names.parse_step(unit.name)
    if step is not None:
        return f"{step.step} version {step.version} of {step.name}"
    server = names.parse_server(unit.name)
    if server is not None:
        verb = "keep" if unit.ever_active else "start"
        return f"{verb} version {server.release.version} of {server.name}"
    bridge_of = names.parse_bridge(unit.name)
    if bridge_of is not None:
        return f"answer {bridge_of} over NATS"
    if names.parse_build(unit.name) is not None:
        # Several versions of several models may share an environment.
        return "build the environment"
    return f"start {unit.name}"
