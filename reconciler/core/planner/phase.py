"""Which phase a rollout is in: a question that changes nothing, asked before anything is decided."""

from enum import Enum, auto
from typing import Literal

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.soak import has_failed_in_soak, must_give_way, release_on_trial
from reconciler.core.planner.start_failure import starts_to_retry_later, why_to_reject
from reconciler.core.planner.target import Target, active_besides, of_files


class Phase(Enum):
    """What a deployment's rollout of its target is about just now; `phase_of` names it, `rollout.advance` acts on it.

    The path of a candidate. The four phases at the top differ in what serves while it loads::

         the active release serves       nothing serves          the active release is rejected,
            |                 |                |                 the target was good before
            v                 v                v                          v
          BESIDE           RECREATE         IN_PLACE                  GOING_BACK  <-------------+
            |                 |                |                          |                     |
            +---------+-------+----------------+--------------------------+                     |
                      |                                                                 after a wait
                      |--- a server failed or is late; the release is at fault --> START_FAILED |
                      |--- a server failed; a boot started the release alone ----> BOOTED_IN_SOAK
                      |--- a server failed; it is tried again -------------------> RETRY_LATER -+
                      | all servers accept
                      v
                 TAKING_OVER
                      | the socket names it
                      v
                   SOAKING -------- something counts against it -----------------> FAILED_IN_SOAK
                      |    \\                                                         ^
                      |     +------ a newer promotion came, then the same happened --+
                      |      \\----- a newer promotion came, then it went down -----> GOOD_SERVES_MEANWHILE
                      | `soak` seconds passed
                      v
                   SERVING <------- the next request -----------------------------> IDLE

    START_FAILED and FAILED_IN_SOAK reject the release: the next pass has another target, or finds that the
    pre-empted candidate is rejected (GOOD_SERVES_MEANWHILE).

    What stays true in every phase:

    - A release that serves goes on serving until another one is ready to take over (BESIDE), or until the files of the
      other one are ready and only its start is left (RECREATE).
    - Two releases accept requests at once only while the one hands over to the other. A release is marked as proven
      only when no server of another one accepts.
    - The good release stays in standby until the candidate proved itself, unless the strategy is `recreate`.
    - Signals and rejections come before files: the way back to the good release needs no disk.
    - The enablement of others goes before the socket names the target, so that a boot never starts two releases.
    - An address behind which no server runs or is started is closed: a client is refused, it never waits for nothing.
    """

    FAILED_IN_SOAK = auto()
    """The release on trial has something against it: it is rejected, and the good release resumes."""
    TAKING_OVER = auto()
    """The target's servers accept, and the socket still names another release."""
    SOAKING = auto()
    """The target is active and serves, and has not proved itself; a first release has nothing to prove."""
    SERVING = auto()
    """The target is active, good and serves."""
    IDLE = auto()
    """The target is active and good, and its servers ended for lack of requests."""
    GOOD_SERVES_MEANWHILE = auto()
    """A candidate that a newer promotion pre-empted does not serve (any more): the good release is to serve until the
    target is ready. That is no GOING_BACK: the target stays the desired release."""
    START_FAILED = auto()
    """A server of the target did not start, and that counts against the target: it is rejected."""
    BOOTED_IN_SOAK = auto()
    """A boot in the soak started the target alone, and it did not start, for no fault of its own."""
    RETRY_LATER = auto()
    """A server of the target did not start and is tried again after a wait."""
    BESIDE = auto()
    """The target is made ready and loads while the active release serves."""
    RECREATE = auto()
    """The target is made ready while the active release serves, and loads after that one has ended."""
    IN_PLACE = auto()
    """The target is made ready and loads while no other release serves."""
    GOING_BACK = auto()
    """The active release is rejected, and the target is one that served before (`fall_back.fall_back`): it takes the
    address at once, and is verified and started after that."""


LoadingPhase = Literal[Phase.BESIDE, Phase.RECREATE, Phase.IN_PLACE, Phase.GOING_BACK]
"""The phases in which the target is not up and nothing speaks against its start."""


def phase_of(view: DeploymentView, target: Target) -> Phase:
    """Name the phase that the rollout of a target is in.

    The order of the questions matters: the first one that is answered with yes names the phase.
    """
    # That a release on trial accepts requests is no excuse for what counts against it, so it is judged first.
    target_is_on_trial = release_on_trial(view) == target.id
    if target_is_on_trial and has_failed_in_soak(view, target):
        return Phase.FAILED_IN_SOAK

    # A target that is ready takes over at once, whatever became of the release before it.
    if _is_ready(view, target):
        return _phase_when_ready(view, target)
    if _is_idle(view, target):
        return Phase.IDLE

    # The target cannot take over yet. If it pre-empted a candidate, that one serves until then, else the good release.
    preempted = _preempted_candidate(view, target)
    if preempted is not None and must_give_way(view, preempted.id):
        return _phase_when_preempted_gives_way(view, preempted)

    return phase_of_start(view, target)


def phase_of_start(view: DeploymentView, target: Target) -> Phase:
    """Name the phase of a target that is not up, as if no other release had failed.

    `phase_of` ends with it. It is asked alone after a return to the good release was given up: then the target is the
    only release that is left to be tried.
    """
    if why_to_reject(view, target) is not None:
        return Phase.START_FAILED
    if not starts_to_retry_later(view, target):
        return _loading_phase(view, target)

    # While the system boots, nothing but the active release is enabled. In a soak that is a release which has not
    # proved itself, and no other one serves while it cannot be started.
    target_is_on_trial = release_on_trial(view) == target.id
    if target_is_on_trial and not view.is_partly_up(target.id):
        return Phase.BOOTED_IN_SOAK
    return Phase.RETRY_LATER


def suspect_of(view: DeploymentView, target: Target) -> Target | None:
    """Return the release that is on trial, as a target of its own; None when none is.

    That is the target itself in its soak, or a candidate that the target pre-empted.
    """
    if release_on_trial(view) == target.id:
        return target
    return _preempted_candidate(view, target)


def _preempted_candidate(view: DeploymentView, target: Target) -> Target | None:
    """Return the candidate that was in its soak when a newer promotion made another release the target.

    None, too, when the target is the good release: then the trial is over and lost, and the good release is on its way.
    """
    on_trial = release_on_trial(view)
    if on_trial is None:
        return None
    if target.id in (on_trial, view.good_release):
        return None
    return of_files(view, on_trial)


def _phase_when_preempted_gives_way(view: DeploymentView, preempted: Target) -> Phase:
    """Tell whether a pre-empted candidate is rejected now, or the good release is to serve in its place.

    A rejection comes first, in a pass of its own. None is due for a candidate that is rejected already, that somebody
    stopped, or that the host failed.
    """
    is_rejected = view.record.rejection(preempted.id) is not None
    if not is_rejected and has_failed_in_soak(view, preempted):
        return Phase.FAILED_IN_SOAK
    return Phase.GOOD_SERVES_MEANWHILE


def _is_ready(view: DeploymentView, target: Target) -> bool:
    """Whether the deployment has its address, and every server that the target should have accepts requests.

    A server that has no unit file yet does not accept: a larger number of replicas is not ready before the last one is.
    """
    accepts = (view.seen.unit(unit).is_up for unit in target.units(view.name))
    return view.listens and all(accepts)


def _phase_when_ready(view: DeploymentView, target: Target) -> Phase:
    """Tell how far a target has come of which all servers accept requests."""
    if view.active_release != target.id:
        return Phase.TAKING_OVER
    # In a later pass the socket names it, and the good release is still the one before it.
    if view.good_release != target.id:
        return Phase.SOAKING
    return Phase.SERVING


def _is_idle(view: DeploymentView, target: Target) -> bool:
    """Whether the target proved itself and waits for a request.

    A target on trial that has become idle is loaded again instead: an idle release proves nothing.
    """
    is_active_and_good = view.active_release == view.good_release == target.id
    if not is_active_and_good:
        return False
    return view.is_idle(target.id)


def _loading_phase(view: DeploymentView, target: Target) -> LoadingPhase:
    """Choose the way in which a target comes up.

    A target that the registry selects is made ready before it gets the address, also when the active release is
    rejected: nobody knows yet whether its files can be had. Of one that served before they are on this host.
    """
    if _active_goes_on_serving(view, target):
        # Two releases may not fit into the memory together.
        if target.rollout.strategy == "recreate":
            return Phase.RECREATE
        return Phase.BESIDE

    active = view.active_release
    active_is_rejected = active is not None and view.record.rejection(active) is not None
    files_are_here = target.release is None
    if active_is_rejected and files_are_here:
        return Phase.GOING_BACK
    return Phase.IN_PLACE


def _active_goes_on_serving(view: DeploymentView, target: Target) -> bool:
    """Whether another release is active and serves, or will serve again while the target is made ready.

    A rejected release does not go on, even if it still accepts requests. A good release that is down is started once
    more. If that start failed just now, the target is not kept waiting for the next try.
    """
    active = active_besides(view, target)
    if active is None:
        return False
    is_rejected = view.record.rejection(active) is not None
    if is_rejected:
        return False
    if view.is_partly_up(active):
        return True

    # The good release has unit files, by its definition. Another one that is down has nothing to be started for.
    is_good = active == view.good_release
    waits_for_a_retry = any(unit in view.inputs.retry_later for unit in view.servers(active))
    return is_good and not waits_for_a_retry
