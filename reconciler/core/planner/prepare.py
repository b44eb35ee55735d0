"""The part of the plan that comes before a start: fetch, build, verify, each only when the one before it is done."""

from reconciler.core.planner import actions as act
from reconciler.core.planner import unit_values
from reconciler.core.planner.deployment_plan import Draft
from reconciler.core.planner.pins import why_changed
from reconciler.core.state.reason import DOING, FAILED, Reason
from reconciler.core.state.release import Release
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names
from reconciler.core.units.names import Step
from reconciler.core.units.unit_facts import NO_FACTS

LATELY = 660.0
"""Seconds: files that were made so lately and are wrong again have another trouble than somebody's hand."""


def prepare(draft: Draft, want: Release) -> Outlook | None:
    """Take the next step towards a release that can start; None when it can."""
    steps = draft.situation.steps
    fetch = unit_values.fetch(want, steps)
    server = draft.seen.files.get(names.server_unit(want.name, want.id))
    environment = draft.seen.unit(fetch.unit).environment
    verify = names.verify_unit(want.name, want.version)
    if draft.seen.unit(verify).active == "failed" and verify not in draft.situation.holds:
        return start_over(draft, want, environment)
    if outlook := _step(draft, want, fetch, Step.FETCH, f"downloading version {want.version}"):
        return outlook
    if environment is None or draft.seen.unit(fetch.unit).files is None:
        if why := draft.situation.holds.get(fetch.unit):
            return draft.blocked(want.version, Reason.FETCH_FAILED, why)
        return start_over(draft, want, environment)
    if why := why_changed(draft.seen, draft.situation.ledger, fetch.unit, unit_values.source_of(want)):
        return draft.blocked(want.version, Reason.FILES_CHANGED, why)
    if unit_values.pin(want.name, want.version, unit_values.source_of(want)) in draft.situation.unwritten:
        return _unrecorded(draft, want)
    if environment != names.HOST_ENVIRONMENT:
        build = unit_values.build(want, environment, steps)
        if outlook := _step(draft, want, build, Step.BUILD, f"building the environment of version {want.version}"):
            return outlook
        if environment in draft.situation.unwritten:
            return _unrecorded(draft, want)
    outlook = _step(
        draft,
        want,
        _verification(draft, want.version, unit_values.source_of(want), environment),
        Step.VERIFY,
        f"verifying version {want.version}",
    )
    if outlook is None and (server is None or server.facts.environment != environment):
        draft.write(unit_values.server(want, environment, draft.situation.listening))
    return outlook


def _unrecorded(draft: Draft, want: Release) -> Outlook:
    """Wait with what would have to be compared with a digest that the disk did not take."""
    why = f"cannot record what was fetched or built for version {want.version}; see reconciler status for the disk"
    return draft.blocked(want.version, Reason.ACTION_FAILED, why)


def _verification(draft: Draft, version: int, source: str, environment: str) -> act.Render:
    return unit_values.verify(unit_values.Files(draft.name, version, source, environment), draft.situation.steps)


def start_over(draft: Draft, want: Release, environment: str | None) -> Outlook:
    """Have every step done again: what is there already costs nothing, what is missing or damaged is made anew."""
    draft.stop(names.verify_unit(want.name, want.version))
    draft.stop(names.fetch_unit(want.name, want.version))
    if environment not in (None, names.HOST_ENVIRONMENT):
        draft.stop(names.build_unit(str(environment)))
    return draft.outlook(State.PREPARING, want.version, Reason.FETCHING, f"looking version {want.version} over again")


def _step(draft: Draft, want: Release, render: act.Render, step: Step, doing: str) -> Outlook | None:
    """See a step done (None), or have it going."""
    unit, file = draft.seen.unit(render.unit), draft.seen.files.get(render.unit)
    is_for_this = file is not None and file.facts.done_for == render.facts.done_for
    if unit.has_finished_well and (is_for_this or (file is not None and names.parse_build(render.unit))):
        return None
    stop_watching(draft, want.version)  # what a step changes nobody need be told
    if render.unit in draft.seen.foreign:
        why = f"cannot use the unit name {render.unit}: somebody else's unit has it; move that unit away"
        return draft.blocked(want.version, Reason.UNIT_NOT_OURS, why)
    underway = draft.outlook(State.PREPARING, want.version, DOING[step], doing)
    if render.unit in draft.shared:
        return underway
    if not unit.is_down:
        if file is None:
            draft.write(render)
        elif unit.has_finished_well:
            draft.stop(render.unit)
        return underway
    # An environment that another deployment failed to build fails here for the same reason.
    if render.unit in draft.situation.holds and is_for_this:
        return draft.blocked(want.version, FAILED[step], draft.situation.holds[render.unit])
    if file is not None and is_for_this and file.facts.digest == render.facts.digest:
        draft.mend([render.unit])
        draft.shared[render.unit] = render
    else:
        draft.write(render)
    draft.start(render.unit)
    return underway


def stop_watching(draft: Draft, version: int) -> bool:
    """Have systemd no longer tell when the files of a version change; True when it does not.

    What it told already is not lost: the files count as not verified from then on.
    """
    down = draft.stop(names.watch_unit(draft.name, version))
    unchanged = draft.stop(names.changed_unit(draft.name, version))
    if not unchanged:
        draft.stop(names.verify_unit(draft.name, version))
    return unchanged and down


def verify_again(draft: Draft, version: int) -> Outlook:
    """Have the files of a release compared with their digests once more, before anything else is tried with them."""
    draft.stop(names.verify_unit(draft.name, version))
    return draft.outlook(State.PREPARING, version, Reason.VERIFYING, f"looking version {version} over again")


def as_set(draft: Draft, version: int) -> Outlook | None:
    """Have files verified again that were verified when the host had another check of its own; None when they were not.

    The unit tells what it is for: the registry may be away, or want another version.
    """
    verify = names.verify_unit(draft.name, version)
    facts = draft.seen.files[verify].facts if verify in draft.seen.files else NO_FACTS
    if facts.source is None or facts.environment is None or facts.check is None:
        return None
    render = _verification(draft, version, facts.source, facts.environment)
    if facts.check == render.facts.check:
        return None
    stop_watching(draft, version)
    unit = draft.seen.unit(verify)
    if unit.has_finished_well:
        draft.stop(verify)
    elif unit.is_down:
        draft.write(render)
        draft.start(verify)
    return draft.outlook(State.PREPARING, version, Reason.VERIFYING, f"verifying version {version}")


def restore(draft: Draft, version: int, environment: str | None) -> Outlook | None:
    """Have the files of a release that is here verified, and made anew if that fails; None when they are as they were.

    Nothing but the units is needed for it: the registry may be away, or want another version.
    """
    verify = names.verify_unit(draft.name, version)
    steps = [(Step.FETCH, names.fetch_unit(draft.name, version))]
    if environment and environment != names.HOST_ENVIRONMENT:
        steps.append((Step.BUILD, names.build_unit(environment)))
    if outlook := as_set(draft, version):
        return outlook
    draft.mend([verify, *(unit for _, unit in steps)])
    unit = draft.seen.unit(verify)
    underway = draft.outlook(State.PREPARING, version, Reason.VERIFYING, f"verifying version {version}")
    if unit.has_finished_well:
        return None
    stop_watching(draft, version)
    if unit.active != "failed":
        if unit.is_down:
            draft.start(verify)
        return underway
    made = max(draft.seen.unit(name).since for _, name in steps)
    if verify in draft.situation.holds and made <= unit.ended < made + LATELY:
        return draft.blocked(version, Reason.VERIFY_FAILED, draft.situation.holds[verify])
    for step, name in steps:
        if outlook := _again(draft, version, step, name, unit.ended):
            return outlook
    draft.start(verify)
    return underway


def _again(draft: Draft, version: int, step: Step, name: str, after: float) -> Outlook | None:
    """Have a step done that was last done before the moment `after`; None when it was done since."""
    unit = draft.seen.unit(name)
    if unit.has_finished_well and unit.since > after:
        return None
    if unit.active == "failed" and name in draft.situation.holds:
        return draft.blocked(version, FAILED[step], draft.situation.holds[name])
    if unit.has_finished_well:
        draft.stop(name)
    elif unit.is_down:
        draft.start(name)
    return draft.outlook(State.PREPARING, version, DOING[step], f"looking version {version} over again")
