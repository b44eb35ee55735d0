"""The part of the plan that brings a release into service beside the one that serves, and lets go of what is left."""

from dataclasses import dataclass

from reconciler.core import actions as act
from reconciler.core import names, units
from reconciler.core.draft import Draft, clean
from reconciler.core.prepare import prepare, start_over
from reconciler.core.release import Release
from reconciler.core.status import Outlook, State

DEAF = "cannot listen: "
"""How a server begins to say that it was not handed every socket."""
MANY = 10
"""How many versions a sentence names."""


def bring_up(draft: Draft, want: Release) -> Outlook:
    """Keep what serves serving, and take the wanted release one step further."""
    server = names.server_unit(want.name, want.id)
    wanted = (
        names.fetch_unit(want.name, want.version),
        names.verify_unit(want.name, want.version),
        server,
        draft.socket,
        names.slice_unit(want.name),
    )
    if foreign := [unit for unit in wanted if unit in draft.seen.foreign]:
        why = f"cannot use the unit name {foreign[0]}: somebody else's unit has it; move that unit away"
        return draft.blocked(want.version, "unit-not-ours", why)
    keep_serving(draft, want.id)
    unit = draft.seen.unit(server)
    if server in draft.situation.holds:
        outlook = _give_up_for_now(draft, want, server)
    elif server in draft.seen.files and unit.active == "active" and draft.seen.unit(draft.socket).active == "active":
        outlook = _serve(draft, want)
    elif unit.active == "failed":
        draft.stop(server)
        file = draft.seen.files.get(server)
        outlook = start_over(draft, want, file.facts.get("Environment") if file else None)
    elif unit.is_down:
        outlook = prepare(draft, want) or _start(draft, want)
    else:
        outlook = _start(draft, want)
    _let_go(draft, want)
    return outlook


def keep_serving(draft: Draft, wanted: str | None) -> None:
    """What served before goes on serving, whatever becomes of the version that is wanted instead."""
    active = draft.active_release
    if active is None or active == wanted:
        return
    server = names.server_unit(draft.name, active)
    file = draft.seen.files.get(server)
    if file is None:
        return
    draft.mend([server, draft.socket, names.slice_unit(draft.name)])
    listens = _listen(draft, active, file.facts.get("Runtime", "native")) is None
    if listens and draft.seen.unit(server).is_down and server not in draft.situation.holds:
        draft.start(server)


@dataclass(frozen=True)
class _Deaf:
    """Why a socket does not listen; without a reason it is on its way."""

    reason: str = ""
    why: str = ""


def _listen(draft: Draft, release: str, runtime: str) -> _Deaf | None:
    """Have the socket listen for a release; None when it does, or will once this plan is carried out."""
    if draft.seen.unit(draft.socket).active == "active":
        return None
    running = [unit for unit in draft.servers().values() if not draft.seen.unit(unit).is_down]
    if running:  # systemd refuses to start a socket whose service runs
        for unit in running:
            draft.stop(unit)
        return _Deaf()
    if draft.port is None or draft.port in draft.situation.refused_ports:
        port = draft.choose_port()
        if port is None:
            first, last = draft.situation.port_range
            why = f"cannot give {draft.name} a port: none of {first}-{last} is free; widen deploy.port_range"
            return _Deaf("no-free-port", why)
        draft.write(units.socket(draft.name, release, runtime, port))
    elif draft.socket in draft.situation.holds:
        return _Deaf("socket-failed", draft.situation.holds[draft.socket])
    elif draft.active_release != release:
        draft.write(units.socket(draft.name, release, runtime, draft.port))
    draft.start(draft.socket)
    return None


def _start(draft: Draft, want: Release) -> Outlook:
    """Everything is prepared: have the wanted release start, beside what serves if anything does."""
    server, slice_ = names.server_unit(want.name, want.id), names.slice_unit(want.name)
    runtime, active = want.parameters.runtime, draft.active_release
    underway = draft.outlook(State.ROLLING_OUT, want.version, "starting", f"version {want.version} is loading")
    draft.mend([server])
    if slice_ not in draft.seen.files:
        draft.write(units.slice_(want.name, runtime))
    if active in (None, want.id) or names.server_unit(want.name, active) not in draft.seen.files:
        draft.mend([draft.socket, slice_])
        if deaf := _listen(draft, want.id, runtime):
            return draft.blocked(want.version, deaf.reason, deaf.why) if deaf.reason else underway
    elif draft.seen.unit(draft.socket).active != "active":
        return underway  # the release that serves comes first
    if draft.seen.unit(server).is_down:
        draft.start(server)
    return underway


def _give_up_for_now(draft: Draft, want: Release, server: str) -> Outlook:
    """A release that does not come up must not answer with silence: stop it, and its socket if that names no other."""
    unit = draft.seen.unit(server)
    # The socket runs, but systemd lost what it listened on: only a start gives it that again. Once, not at each pass:
    # clearing the failure is what tells that it has been done.
    deaf = unit.active == "failed" and unit.status_text.startswith(DEAF)
    if deaf or not unit.is_down:
        draft.stop(server)
    if (deaf or draft.active_release == want.id) and not draft.seen.unit(draft.socket).is_down:
        draft.stop(draft.socket)
    return draft.blocked(want.version, "start-failed", draft.situation.holds[server])


def _serve(draft: Draft, want: Release) -> Outlook:
    """The wanted release answers: make it the active one."""
    server = names.server_unit(want.name, want.id)
    draft.mend([server, draft.socket, names.slice_unit(want.name)])
    port = draft.port or draft.choose_port()
    if draft.active_release != want.id and port:
        draft.write(units.socket(want.name, want.id, want.parameters.runtime, port))
    draft.after += [act.Enable(draft.name, unit) for unit in (draft.socket, server) if unit not in draft.seen.enabled]
    if draft.active_release != want.id:
        return draft.outlook(State.ROLLING_OUT, want.version, "taking-over", f"version {want.version} takes over")
    if want.also_matching:
        versions = ", ".join(str(version) for version in want.also_matching[:MANY])
        more = f" and {len(want.also_matching) - MANY} more" if len(want.also_matching) > MANY else ""
        message = f"{want.selected_by} also has version {versions}{more}; the highest serves"
        return draft.outlook(State.SERVING, want.version, "several-selected", message)
    return draft.outlook(State.SERVING, want.version, "", f"selected by {want.selected_by}")


def _let_go(draft: Draft, want: Release) -> None:
    """Remove what other releases left: their servers' units, and directories that no release uses."""
    kept_releases = {want.id, draft.active_release}
    kept = {want.version}
    for release, unit in draft.servers().items():
        if release in kept_releases:
            kept.add(names.release_version(release))
            continue
        if unit in draft.seen.enabled:
            draft.before.append(act.Disable(draft.name, unit))
        if not draft.stop(unit):
            kept.add(names.release_version(release))
        elif unit not in draft.seen.enabled:
            draft.before.append(act.Remove(draft.name, unit))
    for unit in draft.files():
        step = names.parse_step(unit)
        if step is None or step[2] in kept or not draft.stop(unit):
            continue
        if step[0] == "verify":
            draft.before.append(act.Remove(draft.name, unit))
        elif names.verify_unit(draft.name, step[2]) not in draft.seen.files:
            draft.before += clean(draft.name, unit, draft.seen.files[unit])
