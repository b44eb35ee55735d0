"""Which digests are written down: of a version's files when first fetched, of an environment when built."""

from reconciler.core.planner import actions as act
from reconciler.core.state.ledger import Ledger
from reconciler.core.units import names
from reconciler.core.units.names import Step
from reconciler.core.units.observed import Observed


def pins(seen: Observed, ledger: Ledger) -> list[act.Action]:
    """Take note of what steps report: before anything that is compared with it can be started."""
    found: list[act.Action] = []
    for unit, file in sorted(seen.files.items()):
        state, step = seen.unit(unit), names.parse_step(unit)
        is_fetched = step is not None and step.step is Step.FETCH and state.has_finished_well
        if step and is_fetched and state.files and file.facts.source:
            version = f"{step.version}.{file.facts.source}"
            if version not in ledger.record(step.name).files:
                found.append(act.PinFiles(step.name, unit, version, state.files))
        # A build compares what is there with the former digest itself, and builds anew what is not so.
        environment = names.parse_build(unit)
        if (
            environment
            and state.has_finished_well
            and state.content not in (None, ledger.environments.get(environment))
        ):
            found.append(act.PinEnvironment("", unit, environment, str(state.content)))
    here = {names.parse_build(unit) for unit in seen.files}
    gone = [environment for environment in ledger.environments if environment not in here]
    return found + [act.PinEnvironment("", names.build_unit(one), one, "") for one in gone]


def lost(seen: Observed, ledger: Ledger) -> list[act.Action]:
    """Show units again what they compare with, or no server starts. What is stalled is looked after again."""
    found: list[act.Action] = []
    stalled = {name for name, record in ledger.records.items() if record.stalled is not None}
    ended: set[str] = set()
    for pin in sorted(seen.lost_pins):
        name, _, rest = pin.partition(".")
        if rest:
            version = int(rest.partition(".")[0])
            found.append(act.ShowPin(name, names.fetch_unit(name, version), pin))
            ended |= stalled & {name}
        else:
            found.append(act.ShowPin("", names.build_unit(pin), pin))
            ended |= {one for one in stalled if pin in _environments(seen, one)}
    return found + [act.EndStall(name, "") for name in sorted(ended)]


def _environments(seen: Observed, name: str) -> set[str | None]:
    return {seen.files[unit].facts.environment for unit in seen.by_deployment.get(name, ())}


def why_changed(seen: Observed, ledger: Ledger, fetch: str, source: str) -> str | None:
    """Say that a fetch brought other files than the first one; it should have said so itself."""
    step, files = names.parse_step(fetch), seen.unit(fetch).files
    if step is None or files is None or ledger.record(step.name).files.get(f"{step.version}.{source}", files) == files:
        return None
    return (
        f"cannot use version {step.version} of {step.name}: it has other files than when it was first fetched here; "
        "register a new version, this one stays refused"
    )
