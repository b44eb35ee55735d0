"""`reconciler status --check`: one line and one number for a monitor."""

from datetime import UTC, datetime

import pytest

from reconciler.core.state.reason import Reason
from reconciler.core.state.status import DeploymentStatus, RegistryStatus, State, Status
from reconciler.core.state.verdict import Verdict, verdict

NOW = datetime(2026, 11, 28, 12, tzinfo=UTC)
FRESH = RegistryStatus(reachable=True, read_at=NOW)


def one(state: State, active: str | None = None, tries: int = 0, reason: Reason = Reason.NONE) -> DeploymentStatus:
    """A deployment with a message."""
    return DeploymentStatus(
        name="x", state=state, active_version=active, tries=tries, reason=reason, message="a | b", since=NOW
    )


def judged(*deployments: DeploymentStatus, registry: RegistryStatus = FRESH, trouble: str = "") -> tuple[Verdict, str]:
    """What a monitor is told: the code, and the text before the figures."""
    code, line = verdict(
        Status(schema=1, host="here", registry=registry, trouble=trouble, deployments=tuple(deployments))
    )
    assert "\n" not in line
    text, bar, figures = line.partition(" | ")
    assert bar
    assert [figure.partition("=")[0] for figure in figures.split()] == [state.value for state in State]
    return code, text


@pytest.mark.parametrize(
    ("deployment", "code"),
    [
        (one(State.SERVING, "1"), Verdict.OK),
        (one(State.IDLE, "1"), Verdict.OK),
        (one(State.PREPARING), Verdict.OK),
        (one(State.ROLLING_OUT, "1"), Verdict.OK),
        (one(State.REMOVING), Verdict.OK),
        (one(State.SUSPENDED, "1"), Verdict.OK),
        (one(State.SERVING, "1", reason=Reason.VERIFY_FAILED), Verdict.WARNING),
        (one(State.DEGRADED, "1"), Verdict.WARNING),
        (one(State.HELD, "1"), Verdict.WARNING),
        (one(State.NOT_DEPLOYABLE), Verdict.WARNING),
        (one(State.PENDING), Verdict.WARNING),
        (one(State.PREPARING, "1", tries=2), Verdict.WARNING),
        (one(State.REMOVING, tries=1), Verdict.WARNING),
        (one(State.PREPARING, tries=2), Verdict.CRITICAL),
        (one(State.FAILED), Verdict.CRITICAL),
        (one(State.STALLED, "1"), Verdict.CRITICAL),
    ],
    ids=lambda value: f"{value.state}-{value.active_version}-{value.tries}" if hasattr(value, "state") else value.name,
)
def test_each_state_has_its_urgency(deployment: DeploymentStatus, code: Verdict) -> None:
    """A retry does not end the alarm, and what a person asked for is none."""
    found, text = judged(deployment)
    assert found is code
    if code is not Verdict.OK:
        assert text == f"RECONCILER {code.name}: x is {deployment.state}: a / b"


def test_the_most_urgent_comes_first() -> None:
    """Whoever reads the beginning of the line knows what to look at."""
    code, text = judged(one(State.HELD, "1"), one(State.FAILED), trouble="cannot keep the ledger")
    assert code is Verdict.CRITICAL
    assert text == "RECONCILER CRITICAL: x is failed: a / b; x is held: a / b; cannot keep the ledger"


def test_what_is_out_of_date_is_a_warning() -> None:
    """Also while the snapshot still counts as fresh and the agent says already that it cannot read the registry."""
    away = RegistryStatus(reachable=False, read_at=NOW, message="cannot read the registry")
    assert judged(registry=away) == (
        Verdict.WARNING,
        "RECONCILER WARNING: cannot read the registry",
    )
    soon = RegistryStatus(reachable=True, read_at=NOW, message="cannot read the registry")
    assert judged(registry=soon) == (Verdict.WARNING, "RECONCILER WARNING: cannot read the registry")


def test_a_healthy_host_is_counted() -> None:
    """An empty one is healthy, too."""
    assert judged() == (Verdict.OK, "RECONCILER OK: nothing is deployed")
    assert judged(one(State.SERVING, "1"), one(State.PREPARING)) == (
        Verdict.OK,
        "RECONCILER OK: 1 preparing, 1 serving",
    )


def test_a_line_has_an_end() -> None:
    """Monitors cut it somewhere, and the figures are at the end."""
    _, text = judged(*[one(State.FAILED)] * 200)
    assert len(text) < 1100
