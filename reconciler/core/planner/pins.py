"""Which digests are recorded: of a version's files when they are first fetched, of an environment when it is built.

Invariant: a recorded digest of a version's files never changes, so nobody can slip other files in under its number.
The digest of an environment changes with each build, because the same packages built twice are not the same bytes.
"""

from collections.abc import Iterable, Iterator

from reconciler.core.planner import actions as act
from reconciler.core.state.ledger import Ledger
from reconciler.core.units import names
from reconciler.core.units.names import Step
from reconciler.core.units.observed import Observed


def pins(seen: Observed, ledger: Ledger) -> Iterator[act.Action]:
    """Yield the notes that record what steps report, and those that forget the digests of removed environments.

    They have to come before all starts: what a step reported is recorded before anything is compared with it. A unit
    reports only once it has finished well; it may say anything before.
    """
    reported = [unit for unit, state in seen.units.items() if state.has_finished_well and unit in seen.files]
    for unit in sorted(reported):
        yield from _pin_of_fetch(unit, seen, ledger)
        yield from _pin_of_build(unit, seen, ledger)
    here = {names.parse_build(unit) for unit in seen.files}
    for environment in ledger.environments:
        if environment not in here:
            # An empty digest removes the entry.
            yield act.PinEnvironment("", names.build_unit(environment), environment, "")


def _pin_of_fetch(unit: str, seen: Observed, ledger: Ledger) -> Iterator[act.Action]:
    """If a unit has fetched a version: yield the note that records the digest, unless there is one already.

    A digest belongs to a version and its source: a number that was given to another model has another digest.
    """
    step = names.parse_step(unit)
    if step is None or step.step is not Step.FETCH:
        return
    files, source = seen.unit(unit).files, seen.files[unit].facts.source
    if not files or not source:
        return
    version = f"{step.version}.{source}"
    # The first digest stays. `why_changed` refuses a fetch that brought other files.
    if version not in ledger.record(step.name).files:
        yield act.PinFiles(step.name, unit, version, files)


def _pin_of_build(unit: str, seen: Observed, ledger: Ledger) -> Iterator[act.Action]:
    """If a unit has built an environment: yield the note that records the digest, unless it is the recorded one.

    An environment belongs to no deployment, and neither does the note.
    """
    environment, content = names.parse_build(unit), seen.unit(unit).content
    if environment is None or content is None:
        return
    # A build compares what is there with the former digest itself, and builds anew what is not so. So a new digest
    # means a new build, and takes the place of the former one.
    if content != ledger.environments.get(environment):
        yield act.PinEnvironment("", unit, environment, content)


def lost(seen: Observed, ledger: Ledger) -> Iterator[act.Action]:
    """Yield what shows units the recorded digests again whose files somebody changed or removed.

    Without them no server starts. So a deployment may be stalled because of them: then its stall ends.
    """
    ended: set[str] = set()
    for pin in sorted(seen.lost_pins):
        # The file of a version's digest is called `<name>.<version>.<source>`, that of an environment's as it is.
        name, _, version_and_source = pin.partition(".")
        if version_and_source:
            version = int(version_and_source.partition(".")[0])
            yield act.ShowPin(name, names.fetch_unit(name, version), pin)
            ended.add(name)
        else:
            yield act.ShowPin("", names.build_unit(pin), pin)
            ended |= _deployments_with(pin, seen, ledger.records)
    for name in sorted(ended):
        if ledger.record(name).stalled is not None:
            yield act.EndStall(name, "")


def _deployments_with(environment: str, seen: Observed, deployments: Iterable[str]) -> set[str]:
    """Return those of some deployments that have a unit which needs an environment.

    Servers and verify units say in their files which one they need.
    """
    found = set()
    for name in deployments:
        units = seen.by_deployment.get(name, ())
        needed = {seen.files[unit].facts.environment for unit in units}
        if environment in needed:
            found.add(name)
    return found


def why_changed(seen: Observed, ledger: Ledger, fetch: str, source: str) -> str | None:
    """Say that a fetch brought other files than the first fetch of the version did; None when it did not.

    `fetch` is the fetch unit, `source` the digest of where it fetched from. The step compares by itself and fails when
    it brings other files. So this is only for a step that did not, and that nobody should trust.
    """
    step, files = names.parse_step(fetch), seen.unit(fetch).files
    # There is nothing to compare before a fetch has reported, nor at the first fetch of a version.
    if step is None or files is None:
        return None
    first_files = ledger.record(step.name).files.get(f"{step.version}.{source}", files)
    if files == first_files:
        return None
    return (
        f"cannot use version {step.version} of {step.name}: it has other files than when it was first fetched here; "
        "register a new version, this one stays refused"
    )
