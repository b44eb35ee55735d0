"""What becomes of the ledger when a person asks something: each verb, each refusal, and what ends by itself."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from reconciler.core.operators.carry_out import carry_out
from reconciler.core.operators.context import DeploymentSummary, RequestContext
from reconciler.core.operators.requests import RefusedRequestError, Request
from reconciler.core.operators.suspension import expire, next_expiry
from reconciler.core.operators.verbs import Verb
from reconciler.core.state.ledger import Agreed, Ledger, Record, Rejected, Replacement, Stall, Suspension
from reconciler.core.state.snapshot import Source
from reconciler.core.units.names import ReleaseId

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=2)
R2, R3, R4, R5 = (ReleaseId(f"{version}.{version:08x}") for version in (2, 3, 4, 5))
R4_ANEW = ReleaseId("4.000000ff")
OLD, NEW = (Agreed(source=Source(registry=f"http://{which}")) for which in ("old", "new"))
SUSPENDED = Suspension(by="bob", since=NOW)


def request(verb: Verb, name: str | None = "x", **more: object) -> Request:
    """As jane asks it."""
    return Request.model_validate({"verb": verb, "name": name, "by": "jane", **more})


def rejected(release: ReleaseId, reason: str = "start-failed", message: str = "cannot load the model") -> Rejected:
    """A release that failed."""
    return Rejected(release=release, reason=reason, message=message)


def facts(summary: DeploymentSummary | None = None, **others: DeploymentSummary) -> RequestContext:
    """A host with the deployment x, and what else is said."""
    return RequestContext(NEW, {"x": summary or DeploymentSummary((R3, R4), R4, R4), **others})


def asked(record: Record, asked_for: Request, summary: DeploymentSummary | None = None) -> tuple[Record, str]:
    """What is remembered of x afterwards, and what the person is told."""
    ledger, said = carry_out(Ledger(schema=1).with_record("x", record), asked_for, facts(summary), NOW)
    return ledger.record("x"), said


def refusal(record: Record, asked_for: Request, summary: DeploymentSummary | None = None) -> str:
    """What the person is told instead."""
    with pytest.raises(RefusedRequestError) as refused:
        asked(record, asked_for, summary)
    return str(refused.value)


def test_a_suspension_says_who_why_and_until_when() -> None:
    """It replaces one before it."""
    for before in (Record(), Record(suspended=SUSPENDED)):
        record, said = asked(before, request(Verb.SUSPEND, why="load\ntest", until=LATER))
        assert record.suspended == Suspension(by="jane", why="load test", since=NOW, until=LATER)
        assert said == "x is left as it is until 2026-11-25 14:00:00 UTC, or until reconciler resume x"


def test_a_suspension_that_is_asked_for_again_keeps_what_is_not_said_anew() -> None:
    """A second request without options must not make an end, or a reason, go without a word."""
    former = Suspension(by="bob", why="load test", since=NOW - timedelta(hours=1), until=LATER)
    until = "x is left as it is until 2026-11-25 14:00:00 UTC, or until reconciler resume x"
    for before, more, expected, kept in (
        (former, {}, ("load test", LATER), "; the end and the reason (load test) of the suspension before stay"),
        (former, {"why": "new"}, ("new", LATER), "; the end of the suspension before stays"),
        (
            former.model_copy(update={"until": None}),
            {"until": LATER},
            ("load test", LATER),
            "; the reason (load test) of the suspension before stays",
        ),
        (former, {"why": "new", "until": LATER}, ("new", LATER), ""),
    ):
        record, said = asked(Record(suspended=before), request(Verb.SUSPEND, **more))
        assert record.suspended == Suspension(by="jane", why=expected[0], since=NOW, until=expected[1])
        assert said == until + kept


def test_a_suspension_without_an_end_lasts_until_it_is_resumed() -> None:
    """And a resumed deployment leaves no record behind."""
    record, said = asked(Record(), request(Verb.SUSPEND))
    assert (record.suspended, said) == (
        Suspension(by="jane", since=NOW),
        "x is left as it is until reconciler resume x",
    )
    ledger, said = carry_out(Ledger(schema=1).with_record("x", record), request(Verb.RESUME), facts(), NOW)
    assert (ledger.records, said) == ({}, "x is looked after again")


def test_a_suspension_in_the_past_is_refused() -> None:
    """It would be over at once."""
    why = refusal(Record(), request(Verb.SUSPEND, until=NOW))
    assert why == "cannot suspend x: 2026-11-25 12:00:00 UTC is over; give a later time"


def test_only_the_suspended_can_be_resumed() -> None:
    """A masked unit is another way to suspend."""
    why = refusal(Record(), request(Verb.RESUME))
    assert why == "cannot resume x: nobody suspended it; if a unit of it is masked, systemctl unmask that"


@pytest.mark.parametrize("verb", [verb for verb in Verb if not verb.is_about_host])
def test_an_unknown_deployment_is_refused_with_what_may_be_meant(verb: Verb) -> None:
    """The nearest name that there is."""
    known = RequestContext(NEW, {"pauses": DeploymentSummary()})
    with pytest.raises(RefusedRequestError) as refused:
        carry_out(Ledger(schema=1), request(verb, "pausse"), known, NOW)
    assert str(refused.value) == (f"cannot {verb.words} pausse: there is no such deployment; did you mean pauses?")
    with pytest.raises(RefusedRequestError, match=r"; reconciler status lists those that there are$"):
        carry_out(Ledger(schema=1), request(verb, "qqq"), known, NOW)


def test_what_is_remembered_of_a_removed_deployment_can_be_changed() -> None:
    """It would keep a promotion from being served."""
    ledger = Ledger(schema=1).with_record("gone", Record(rejected=(rejected(R3),), suspended=SUSPENDED))
    for verb in (Verb.RESUME, Verb.RETRY):
        ledger, _ = carry_out(ledger, request(verb, "gone"), facts(), NOW)
    assert ledger.records == {}


def test_files_are_replaced_by_those_of_the_version_that_was_spoken_of() -> None:
    """It is tried though it was rejected; the rest of the record goes when the files go."""
    before = Record(good=R3, rejected=(rejected(R3), rejected(R4)))
    record, said = asked(before, request(Verb.REPLACE), DeploymentSummary((R3,), R3, R4, taken="4.0123456789abcdef"))
    assert record.replacing == Replacement(origin="4.0123456789abcdef", by="jane")
    assert (record.good, record.rejected) == (R3, (rejected(R3),))
    assert said.startswith("x is taken out of service and its files are removed; what the registry has under number 4")


@pytest.mark.parametrize(
    "summary", [DeploymentSummary((R4,), R4, R4), DeploymentSummary((R4,), R4, None, selected=False)]
)
def test_files_are_not_replaced_where_the_number_is_its_own(summary: DeploymentSummary) -> None:
    """There is another word for that."""
    why = refusal(Record(), request(Verb.REPLACE), summary)
    assert why == (
        "cannot replace the files of x: what the registry selects has a number of its own here; reconciler rollout x "
        "rolls it out anew, files that changed under their number need a new version"
    )


RETRIES: Mapping[str, tuple[Record, str]] = {
    "the wanted one": (Record(rejected=(rejected(R3), rejected(R4))), "version 4 of x is tried again"),
    "another": (Record(rejected=(rejected(R3),)), "what was rejected of x is tried again when the registry selects it"),
    "a stall": (Record(stalled=Stall(release=R4, message="…")), "x is mended again"),
    "nothing": (Record(), "nothing of x was rejected; what waits for its next try is tried at once"),
}


@pytest.mark.parametrize("kind", list(RETRIES))
def test_a_retry_forgives_everything_and_says_what_is_tried(kind: str) -> None:
    """All rejections and the stall; who proved itself and who suspended it stays."""
    before, expected = RETRIES[kind]
    record, said = asked(before.model_copy(update={"good": R2, "generation": 3}), request(Verb.RETRY))
    assert record == Record(good=R2, generation=3)
    assert said == expected


def test_what_is_asked_of_a_suspended_deployment_waits_and_says_so() -> None:
    """It is not refused: the person may resume it next."""
    before = Record(good=R4, before=(R3,), suspended=SUSPENDED)
    for verb in (Verb.RETRY, Verb.ROLLBACK, Verb.ROLLOUT):
        record, said = asked(before, request(verb))
        assert record.suspended == SUSPENDED
        assert said.endswith(
            ", but not before reconciler resume x: "
            "it is suspended by bob since 2026-11-25 12:00:00 UTC, until it is resumed"
        )


def test_a_rollout_makes_another_release_of_the_same_version() -> None:
    """Its number is part of the release's digest; a failure before is forgiven."""
    record, said = asked(Record(good=R3, rejected=(rejected(R4), rejected(R5)), generation=1), request(Verb.ROLLOUT))
    assert record == Record(good=R3, rejected=(rejected(R5),), generation=2)
    assert said == "version 4 of x is rolled out anew"


def test_a_rollout_of_nothing_is_refused() -> None:
    """A deployment that is going, or that this host refuses."""
    why = refusal(Record(), request(Verb.ROLLOUT), DeploymentSummary((R4,), R4, None))
    assert why == "cannot roll out x: the registry selects no version that this host would run; promote one"


def rolled_back(release: ReleaseId, why: str = "rolled back by jane: slow") -> Rejected:
    """What a rollback leaves of what it left."""
    return rejected(release, "rolled-back", why)


PROVEN = Record(good=R4, before=(R3, R2))
RETRY = "not tried before reconciler retry x"
# What is remembered, where it stands, the version asked for; what is remembered then, and what is said.
ROLLBACKS: Mapping[str, tuple[Record, DeploymentSummary, int | None, Record, str]] = {
    "to the one before": (
        PROVEN,
        DeploymentSummary((R2, R3, R4), R4, R4),
        None,
        Record(good=R3, before=(R2,), rejected=(rolled_back(R4),)),
        f"x goes back to version 3; version 4 is {RETRY}",
    ),
    "to the latest that is kept": (
        PROVEN,
        DeploymentSummary((R2, R4), R4, R4),
        None,
        Record(good=R2, before=(R3,), rejected=(rolled_back(R4),)),
        f"x goes back to version 2; version 4 is {RETRY}",
    ),
    "to a version": (
        PROVEN,
        DeploymentSummary((R2, R3, R4), R4, R4),
        2,
        Record(good=R2, before=(R3,), rejected=(rolled_back(R4),)),
        f"x goes back to version 2; version 4 is {RETRY}",
    ),
    "to another release of the same version": (
        Record(good=R4_ANEW, before=(R4, R3)),
        DeploymentSummary((R3, R4, R4_ANEW), R4_ANEW, R4_ANEW),
        4,
        Record(good=R4, before=(R3,), rejected=(rolled_back(R4_ANEW),)),
        f"x goes back to release {R4}; release {R4_ANEW} is {RETRY}",
    ),
    "in a soak": (
        Record(good=R3, before=(R2,)),
        DeploymentSummary((R2, R3, R4), R4, R4),
        None,
        Record(good=R3, before=(R2,), rejected=(rolled_back(R4),)),
        f"x goes back to version 3; version 4 is {RETRY}",
    ),
    "before the hand-over": (
        Record(good=R3, before=(R2,)),
        DeploymentSummary((R2, R3), R3, R4),
        None,
        Record(good=R3, before=(R2,), rejected=(rolled_back(R4),)),
        f"x stays with version 3; version 4 is {RETRY}",
    ),
    "of two that did not prove themselves": (
        Record(good=R2),
        DeploymentSummary((R2, R3), R3, R4),
        None,
        Record(good=R2, rejected=(rolled_back(R4), rolled_back(R3))),
        f"x goes back to version 2; version 4 and version 3 are {RETRY}",
    ),
    "further, when the wanted one failed": (
        Record(good=R3, before=(R2,), rejected=(rejected(R4),)),
        DeploymentSummary((R2, R3), R3, R4),
        None,
        Record(good=R2, rejected=(rejected(R4), rolled_back(R3))),
        f"x goes back to version 2; version 3 is {RETRY}",
    ),
    "while the registry wants nothing that could run": (
        PROVEN,
        DeploymentSummary((R3, R4), R4, None),
        None,
        Record(good=R3, before=(R2,), rejected=(rolled_back(R4),)),
        f"x goes back to version 3; version 4 is {RETRY}",
    ),
    "of a stalled deployment": (
        Record(good=R4, before=(R3,), stalled=Stall(release=R4, message="…")),
        DeploymentSummary((R3, R4), R4, R4),
        None,
        Record(good=R3, rejected=(rolled_back(R4),)),
        f"x goes back to version 3; version 4 is {RETRY}",
    ),
    "to the wanted one, which was rejected": (
        Record(good=R3, before=(R2,), rejected=(rejected(R5), rolled_back(R4))),
        DeploymentSummary((R2, R3), R3, R4),
        4,
        Record(good=R3, before=(R2,), rejected=(rejected(R5),)),
        "version 4 of x is tried again",
    ),
}


@pytest.mark.parametrize("kind", list(ROLLBACKS))
def test_a_rollback_goes(kind: str) -> None:
    """The release to go back to is the good one, and what it is to replace is not tried again."""
    before, summary, version, expected, expected_words = ROLLBACKS[kind]
    record, said = asked(before, request(Verb.ROLLBACK, version=version, why="slow"), summary)
    assert record == expected
    assert said == expected_words


def test_a_rollback_without_a_reason_says_who() -> None:
    """That is what the status shows from then on."""
    record, _ = asked(PROVEN, request(Verb.ROLLBACK))
    assert record.rejected == (rolled_back(R4, "rolled back by jane"),)


NO_ROLLBACKS: Mapping[str, tuple[Record, DeploymentSummary, int | None, str]] = {
    "nothing before": (
        Record(good=R4),
        DeploymentSummary((R4,), R4, R4),
        None,
        "nothing that served before is kept beside version 4; promote another version instead",
    ),
    "nothing kept": (
        PROVEN,
        DeploymentSummary((R4,), R4, R4),
        None,
        "nothing that served before is kept beside version 4; promote another version instead",
    ),
    "nothing at all": (
        Record(),
        DeploymentSummary(),
        None,
        "nothing that served before is kept; promote another version instead",
    ),
    "not here": (
        PROVEN,
        DeploymentSummary((R3, R4), R4, R4),
        7,
        "version 7 of x is not on this host, there is version 4, version 3; promote it instead",
    ),
    "not here, nor others": (
        Record(),
        DeploymentSummary(),
        7,
        "version 7 of x is not on this host, no other is either; promote it instead",
    ),
    "active": (PROVEN, DeploymentSummary((R3, R4), R4, R4), 4, "version 4 is active already; see reconciler status"),
    "under way": (
        Record(good=R3),
        DeploymentSummary((R3,), R3, R4),
        4,
        "version 4 is being rolled out already; see reconciler status",
    ),
}


@pytest.mark.parametrize("kind", list(NO_ROLLBACKS))
def test_a_rollback_is_refused_when_there_is(kind: str) -> None:
    """With what to do instead."""
    before, summary, version, why = NO_ROLLBACKS[kind]
    assert refusal(before, request(Verb.ROLLBACK, version=version), summary) == f"cannot roll back x: {why}"


def test_confirming_a_removal_names_what_is_held_and_agrees_to_nothing_else() -> None:
    """Nothing that is held later is confirmed by it, and no other registry."""
    before = Ledger(schema=1, agreed=OLD, prune_confirmed=frozenset({"earlier"}))
    known = facts(b=DeploymentSummary(held=True), a=DeploymentSummary(held=True))
    ledger, said = carry_out(before, request(Verb.CONFIRM_PRUNE, None), known, NOW)
    assert ledger == Ledger(schema=1, agreed=OLD, prune_confirmed=frozenset({"a", "b"}))
    assert said == "removing what the registry no longer selects: a, b"


def test_agreeing_to_another_registry_names_what_follows() -> None:
    """What waits because of it, and what else may still wait."""
    known = facts(b=DeploymentSummary(held=True), a=DeploymentSummary(waits=True))
    ledger, said = carry_out(Ledger(schema=1, agreed=OLD), request(Verb.CONFIRM_REGISTRY, None), known, NOW)
    assert ledger.agreed == NEW
    assert said == (
        "this host goes by the registry at http://new; replacing a; "
        "removing b, unless the registry does not show them or they are many"
    )


def test_a_registry_that_is_agreed_to_needs_no_yes() -> None:
    """Nor can one be given in advance."""
    for agreed in (NEW, None):
        with pytest.raises(RefusedRequestError, match=r"^cannot agree to another source: none waits for that"):
            carry_out(Ledger(schema=1, agreed=agreed), request(Verb.CONFIRM_REGISTRY, None), facts(), NOW)


def test_what_waits_for_that_cannot_be_rolled_out_one_by_one() -> None:
    """It would be a yes to something that was not shown."""
    waits = DeploymentSummary((R3,), R3, R4, waits=True, taken="4.0123456789abcdef")
    for verb, cannot in ((Verb.ROLLOUT, "cannot roll out x"), (Verb.REPLACE, "cannot replace the files of x")):
        why = refusal(Record(), request(verb), waits)
        assert why.startswith(f"{cannot}: the registry or the selectors of this host changed")


def test_confirming_nothing_is_refused() -> None:
    """A yes in advance could be to anything."""
    with pytest.raises(RefusedRequestError) as refused:
        carry_out(Ledger(schema=1), request(Verb.CONFIRM_PRUNE, None), facts(), NOW)
    assert str(refused.value) == "cannot confirm a removal: none is held back; see reconciler status"


def test_a_suspension_ends_by_itself_when_its_time_is_over() -> None:
    """Others stay, also those without an end."""
    until = {"a": NOW, "b": LATER, "c": None}
    ledger = Ledger(schema=1)
    for name, end in until.items():
        ledger = ledger.with_record(name, Record(suspended=SUSPENDED.model_copy(update={"until": end})))
    assert next_expiry(ledger) == NOW
    ledger, over = expire(ledger, NOW)
    assert (over, set(ledger.records), next_expiry(ledger)) == (("a",), {"b", "c"}, LATER)
    assert expire(ledger, NOW) == (ledger, ())
    assert next_expiry(Ledger(schema=1)) is None


MALFORMED: Mapping[str, dict[str, object]] = {
    "no name": {"verb": "retry", "by": "jane"},
    "a name too many": {"verb": "confirm-prune", "by": "jane", "name": "x"},
    "a name that cannot be": {"verb": "retry", "by": "jane", "name": "../x"},
    "a version too many": {"verb": "retry", "by": "jane", "name": "x", "version": 3},
    "a time too many": {"verb": "resume", "by": "jane", "name": "x", "until": "2026-11-25T12:00:00Z"},
    "a time without a zone": {"verb": "suspend", "by": "jane", "name": "x", "until": "2026-11-25T12:00:00"},
    "an unknown verb": {"verb": "destroy", "by": "jane", "name": "x"},
    "an unknown key": {"verb": "retry", "by": "jane", "name": "x", "force": True},
    "nobody": {"verb": "retry", "by": "", "name": "x"},
    "another schema": {"schema": 2, "verb": "retry", "by": "jane", "name": "x"},
    "a long reason": {"verb": "suspend", "by": "jane", "name": "x", "why": "x" * 1001},
}


@pytest.mark.parametrize("kind", list(MALFORMED))
def test_no_request_has(kind: str) -> None:
    """What does not belong together is refused before it is carried out."""
    with pytest.raises(ValidationError):
        Request.model_validate_json(json.dumps(MALFORMED[kind]))
