"""The part of the plan that brings a release into service: what is done in each phase, `phase.Phase`, of a rollout."""

from typing import TypeVar

from reconciler.core.planner import actions as act
from reconciler.core.planner.active import make_active
from reconciler.core.planner.deployment_plan import DeploymentPlan
from reconciler.core.planner.hand_over import keep_serving_target, take_over, watch_soak
from reconciler.core.planner.keep_serving import close_failed_start
from reconciler.core.planner.load import load
from reconciler.core.planner.phase import Phase, phase_of, phase_of_start, suspect_of
from reconciler.core.planner.soak import servers_that_count, why_failed_in_soak
from reconciler.core.planner.start_failure import StartFailure, starts_to_retry_later, why_to_reject
from reconciler.core.planner.target import Target, of_files
from reconciler.core.state.reason import Reason
from reconciler.core.state.status import Outlook, State
from reconciler.core.units import names

_Value = TypeVar("_Value")


def advance(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Take a deployment one step closer to a target that serves, and keep the active release serving until then.

    Adds the actions of this step to the deployment's plan. Each pass asks again, with what came of them.
    """
    _restore_unit_files(deployment, target)
    return _act(deployment, target, phase_of(deployment, target))


def _restore_unit_files(deployment: DeploymentPlan, target: Target) -> None:
    """Restore what somebody changed of the units of the releases that are of use now, in every phase."""
    in_use = [target.id, deployment.active_release, deployment.good_release]
    for release in dict.fromkeys(in_use):
        if release is not None:
            deployment.restore_files(deployment.servers(release))
    deployment.restore_files([deployment.socket, names.slice_unit(deployment.name)])


def _act(deployment: DeploymentPlan, target: Target, phase: Phase) -> Outlook:
    """Add what is to be done in a phase, and return where the deployment stands."""
    match phase:
        case Phase.FAILED_IN_SOAK:
            return _reject_in_soak(deployment, target)
        case Phase.TAKING_OVER:
            return take_over(deployment, target)
        case Phase.SOAKING:
            return watch_soak(deployment, target)
        case Phase.SERVING:
            return keep_serving_target(deployment, target)
        case Phase.IDLE:
            return _stay_idle(deployment, target)
        case Phase.GOOD_SERVES_MEANWHILE:
            return _have_good_serve_meanwhile(deployment, target)
        case Phase.START_FAILED:
            return _reject_start(deployment, target)
        case Phase.BOOTED_IN_SOAK:
            return _serve_instead(deployment, target)
        case Phase.RETRY_LATER:
            return _retry_later(deployment, target)
        case _:
            return load(deployment, target, phase)


def _reject_in_soak(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Reject the release on trial, and have the good release resume if it stands by.

    Only signals and the rejection are planned here. They need nothing but systemd, so they work with a full disk, too.
    The files follow in the next pass, as they can.
    """
    suspect = _known(suspect_of(deployment, target))
    fault = _known(why_failed_in_soak(deployment, suspect))
    good = deployment.servers(_known(deployment.good_release))
    deployment.resume(good)

    # Without a good release that is loaded, bad answers are better than none.
    good_is_loaded = any(deployment.seen.unit(unit).active == "active" for unit in good)
    if good_is_loaded:
        deployment.stand_by(deployment.servers(suspect.id))

    server = servers_that_count(deployment, suspect.id)[0].name
    asked = suspect.asked(deployment)
    deployment.before.append(act.Reject(deployment.name, server, suspect.id, fault.reason, fault.why, asked))
    return deployment.outlook(State.ROLLING_OUT, target.version, fault.reason, fault.why)


def _stay_idle(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Start nothing; a boot must start the target, though, as it does with one that serves."""
    # The socket names it already: this is for its enablement only.
    make_active(deployment, target)
    message = "nobody asks it anything; the next request starts it"
    return deployment.outlook(State.IDLE, target.version, Reason.NONE, message)


def _have_good_serve_meanwhile(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Have the good release serve again in place of a pre-empted candidate, before the target is gone on with.

    The target stays what it is. Where it becomes the release to go back to, that is `fall_back.fall_back`.

    This is an attempt, in a plan of its own. If it cannot serve either, the attempt is given up with everything that it
    planned: then the target is what is left to be tried.
    """
    good = _known(deployment.good_release)
    attempt = deployment.fork()
    outlook = advance(attempt, of_files(deployment, good))
    if outlook.state is State.FAILED:
        # Given up: `deployment` is as if there had been no attempt.
        return _act(deployment, target, phase_of_start(deployment, target))
    deployment.join(attempt)
    return outlook.model_copy(update={"desired_version": str(target.version)})


def _reject_start(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Reject a target that did not start; what serves goes on, and the next pass keeps to that."""
    failure = _known(why_to_reject(deployment, target))
    asked = target.asked(deployment)
    rejection = act.Reject(deployment.name, failure.server, target.id, Reason.START_FAILED, failure.why, asked)
    deployment.before.append(rejection)
    return _start_has_failed(deployment, target, failure)


def _serve_instead(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Have the good release serve until the target can be tried again: the boot did not start it."""
    failure = starts_to_retry_later(deployment, target)[0]
    advance(deployment, of_files(deployment, _known(deployment.good_release)))
    return _start_has_failed(deployment, target, failure)


def _retry_later(deployment: DeploymentPlan, target: Target) -> Outlook:
    """Close the address of a target that waits for its next try, unless something answers there."""
    failure = starts_to_retry_later(deployment, target)[0]
    close_failed_start(deployment, target, failure.server)
    return _start_has_failed(deployment, target, failure)


def _start_has_failed(deployment: DeploymentPlan, target: Target, failure: StartFailure) -> Outlook:
    """Return the outlook of a target that did not start; it does not tell a rejection from a wait."""
    return deployment.blocked(target.version, Reason.START_FAILED, failure.why)


def _known(value: _Value | None) -> _Value:
    """Return a value that the phase implies. That it is missing is a fault of `phase_of`."""
    if value is None:
        raise ValueError("the phase of the rollout is not the one of what is seen")
    return value
