"""The JSON schemas in docs/, made from the models that write the documents: `python -m tests.schemas` writes them."""

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from reconciler.core.state import fleet, page, plan_document, status
from reconciler.core.state.fleet import Fleet
from reconciler.core.state.page import DeploymentPage
from reconciler.core.state.plan_document import ShownPlan
from reconciler.core.state.status import Status
from tests.reference.words import words

DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENTS: dict[str, tuple[type[BaseModel], str]] = {
    "status.schema.json": (Status, "reconciler status --json"),
    "fleet.schema.json": (Fleet, "reconciler status --fleet --json"),
    "status-name.schema.json": (DeploymentPage, "reconciler status NAME --json"),
    "plan.schema.json": (ShownPlan, "reconciler plan --json"),
}


def schema_of(name: str) -> str:
    """Return the text of a schema, with what the models say of each field."""
    model, title = DOCUMENTS[name]
    schema = model.model_json_schema(by_alias=True, mode="serialization")
    for part, about in ((model.__name__, schema), *schema.get("$defs", {}).items()):
        if "properties" not in about:
            continue  # an enum
        for field, text in _words(_model(part)).items():
            about["properties"][field]["description"] = text.replace("None", "null")
        # A document has all of them, whatever they are by default.
        about["required"] = list(about["properties"])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return json.dumps({**head, **_without_titles(schema)}, indent=1) + "\n"


def _model(part: str) -> type[BaseModel]:
    """Find the model of a part of a document."""
    found: type[BaseModel] = next(
        getattr(module, part) for module in (page, status, plan_document, fleet) if hasattr(module, part)
    )
    return found


def _words(model: type) -> dict[str, str]:
    """Read the texts behind the fields of a model and of those that it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if issubclass(one, BaseModel) and one is not BaseModel:
            found |= words(one)
    return found


def _without_titles(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_titles(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_titles(value) for key, value in schema.items() if not (key == "title" and isinstance(value, str))
    }


if __name__ == "__main__":
    for document in DOCUMENTS:
        (DOCS / document).write_text(schema_of(document))
