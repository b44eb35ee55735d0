"""Which phase a rollout is in: a question that changes nothing, asked before anything is decided."""

from enum import Enum, auto
from typing import Literal

from reconciler.core.planner.deployment_view import DeploymentView
from reconciler.core.planner.soak import has_failed_in_soak, is_bad, release_on_trial
from reconciler.core.planner.start_failure import servers_to_retry, why_to_reject
from reconciler.core.planner.target import Target, of_files


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
                      |      \\----- a newer promotion came, then it went down -----> RETURN_TO_GOOD
                      | `soak` seconds passed
                      v
                   SERVING <------- the next request -----------------------------> IDLE

    START_FAILED and FAILED_IN_SOAK reject the release: the next pass has another target, or finds a RETURN_TO_GOOD.

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
    RETURN_TO_GOOD = auto()
    """A candidate that a newer promotion pre-empted does not serve (any more): the good release is to serve."""
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
    """The active release is rejected: the target takes the address at once, and is verified and started after that."""


LoadingPhase = Literal[Phase.BESIDE, Phase.RECREATE, Phase.IN_PLACE, Phase.GOING_BACK]
"""The phases in which the target is not up and nothing speaks against its start."""


def phase_of(view: DeploymentView, target: Target) -> Phase:
    """Name the phase that the rollout of a target is in.

    The order of the questions matters. A release on trial that is the target is judged first: that it accepts requests
    is no excuse. A ready target takes over whatever the active release does. A candidate that was pre-empted is judged
    only when the target can not take over yet.
    """
    suspect = release_in_question(view, target)
    target_is_on_trial = suspect is not None and suspect.id == target.id
    if target_is_on_trial and has_failed_in_soak(view, target):
        return Phase.FAILED_IN_SOAK
    if _is_ready(view, target):
        return _phase_when_ready(view, target)
    if _is_idle(view, target):
        return Phase.IDLE
    if suspect is not None and not target_is_on_trial and is_bad(view, suspect.id):
        is_rejected = view.record.rejection(suspect.id) is not None
        newly_failed = not is_rejected and has_failed_in_soak(view, suspect)
        return Phase.FAILED_IN_SOAK if newly_failed else Phase.RETURN_TO_GOOD
    return phase_of_start(view, target)


def phase_of_start(view: DeploymentView, target: Target) -> Phase:
    """Name the phase of a target that is not up, as if no other release had failed.

    `phase_of` ends with it. It is asked alone after a return to the good release was given up: then the target is the
    only release that is left to be tried.
    """
    if why_to_reject(view, target) is not None:
        return Phase.START_FAILED
    if servers_to_retry(view, target):
        is_on_trial = release_on_trial(view) == target.id
        serves = view.is_partly_up(target.id)
        return Phase.BOOTED_IN_SOAK if is_on_trial and not serves else Phase.RETRY_LATER
    return _loading_phase(view, target)


def release_in_question(view: DeploymentView, target: Target) -> Target | None:
    """Name the release that is on trial while the target is rolled out, as a target of its own.

    That is the target itself in its soak, or a candidate that a newer promotion pre-empted in its soak. None when no
    release is on trial, and when the target is the good release: then the trial is over and lost.
    """
    on_trial = release_on_trial(view)
    if on_trial == target.id:
        return target
    if on_trial is None or target.id == view.good_release:
        return None
    return of_files(view, on_trial)


def _is_ready(view: DeploymentView, target: Target) -> bool:
    """Whether the deployment has its address and every server that the target should have accepts requests."""
    return view.listens and all(view.seen.unit(unit).is_up for unit in target.units(view.name))


def _phase_when_ready(view: DeploymentView, target: Target) -> Phase:
    """Tell how far a target has come of which all servers accept requests."""
    if view.active_release != target.id:
        return Phase.TAKING_OVER
    return Phase.SERVING if view.good_release == target.id else Phase.SOAKING


def _is_idle(view: DeploymentView, target: Target) -> bool:
    """Whether the target proved itself and waits for a request; one on trial is started again and watched."""
    is_active_and_good = view.active_release == view.good_release == target.id
    return is_active_and_good and view.is_idle(target.id)


def _loading_phase(view: DeploymentView, target: Target) -> LoadingPhase:
    """Choose the way in which a target comes up."""
    if _active_goes_on_serving(view, target):
        return Phase.RECREATE if target.rollout.strategy == "recreate" else Phase.BESIDE
    active = view.active_release
    active_is_rejected = active is not None and view.record.rejection(active) is not None
    # A candidate from the registry is prepared first also then: nobody knows yet whether its files can be had.
    is_known_from_files = target.release is None
    return Phase.GOING_BACK if active_is_rejected and is_known_from_files else Phase.IN_PLACE


def _active_goes_on_serving(view: DeploymentView, target: Target) -> bool:
    """Whether another release is active and serves, or will serve again while the target is made ready."""
    active = view.active_release
    if active is None or active == target.id:
        return False
    servers = view.servers(active)
    if not servers or view.record.rejection(active) is not None:
        return False
    if view.is_partly_up(active):
        return True
    # A good release that is down is started once more, unless its start failed just now.
    is_waiting_for_a_retry = any(unit in view.inputs.retry_later for unit in servers)
    return active == view.good_release and not is_waiting_for_a_retry
