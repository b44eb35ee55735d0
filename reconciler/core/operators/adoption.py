"""What a person says of a unit made by hand that answers a deployment's requests over NATS: who is to answer them."""

from reconciler.core.operators.requests import MAX_WHO, RefusedRequestError, Request
from reconciler.core.state.ledger import Adoption, Record
from reconciler.core.text.quote import one_line
from reconciler.core.units import names


def adopt(record: Record, request: Request) -> tuple[Record, str]:
    """Have the deployment answer, at first beside that unit. To ask again is to go on."""
    adoption = Adoption(by=one_line(request.by, MAX_WHO))
    said = (
        f"{_bridge(request)} answers over NATS what {_older(request)} leaves unanswered, and all when that one is down"
    )
    return record.model_copy(update={"adopted": adoption}), said


def give_back(record: Record, request: Request) -> tuple[Record, str]:
    """Have the deployment answer only what that unit leaves unanswered, so that it can be started again."""
    adopted = _adopted(record, request)
    said = f"{_bridge(request)} leaves requests over NATS to {_older(request)}, and answers those that it does not"
    return record.model_copy(update={"adopted": adopted.model_copy(update={"giving_back": True})}), said


def given_back(record: Record, request: Request) -> tuple[Record, str]:
    """Have the deployment answer nothing over NATS any more while that unit runs."""
    _adopted(record, request)
    return record.model_copy(update={"adopted": None}), f"{_older(request)} answers over NATS again"


def _adopted(record: Record, request: Request) -> Adoption:
    if record.adopted is None:
        raise RefusedRequestError(
            f"{request.cannot}: it was not adopted; reconciler adopt {request.name} shows what is"
        )
    return record.adopted


def _bridge(request: Request) -> str:
    return names.bridge_unit(request.name or "")


def _older(request: Request) -> str:
    return names.compose_unit(request.name or "")
