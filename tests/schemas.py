"""The JSON schemas in docs/, made from the models that write the documents: `python -m tests.schemas` writes them."""

import ast
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from reconciler.core.state import page, status
from reconciler.core.state.page import DeploymentPage
from reconciler.core.state.status import Status

DOCS = Path(__file__).resolve().parents[1] / "docs"
DOCUMENTS: dict[str, tuple[type[BaseModel], str]] = {
    "status.schema.json": (Status, "reconciler status --json"),
    "status-name.schema.json": (DeploymentPage, "reconciler status NAME --json"),
}


def schema_of(name: str) -> str:
    """Return the text of a schema, with what the models say of each field."""
    model, title = DOCUMENTS[name]
    schema = model.model_json_schema(by_alias=True, mode="serialization")
    for part, about in ((model.__name__, schema), *schema.get("$defs", {}).items()):
        if "properties" not in about:
            continue  # an enum
        for field, words in _words(getattr(page, part, None) or getattr(status, part)).items():
            about["properties"][field]["description"] = words
        # A document has all of them, whatever they are by default.
        about["required"] = list(about["properties"])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title}
    return json.dumps({**head, **_without_titles(schema)}, indent=1) + "\n"


def _words(model: type) -> dict[str, str]:
    """Read the texts behind the fields of a model and of those that it inherits from."""
    found: dict[str, str] = {}
    for one in reversed(model.__mro__):
        if not issubclass(one, BaseModel) or one is BaseModel:
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                found[ast.unparse(field.target)] = " ".join(str(ast.literal_eval(text.value)).split())
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
