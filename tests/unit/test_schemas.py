"""The documents of `reconciler status` for programs are what docs/ says that they are."""

import json

import jsonschema_rs
import pytest

from tests import schemas
from tests.unit import test_status_page
from tests.unit.conftest import World

host = test_status_page.host


@pytest.mark.parametrize("name", list(schemas.DOCUMENTS))
def test_a_schema_is_that_of_the_model(name: str) -> None:
    """`python -m tests.schemas` writes it anew; whoever changes it changes what other people's programs read."""
    assert (schemas.DOCS / name).read_text() == schemas.schema_of(name)


def validator(name: str) -> jsonschema_rs.Draft202012Validator:
    """Checks documents by a schema in docs/, the formats of moments too."""
    schema = json.loads((schemas.DOCS / name).read_text())
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


@pytest.mark.usefixtures("host")
def test_what_the_command_prints_is_valid() -> None:
    """The table's document, and that of a page."""
    validator("status.schema.json").validate(json.loads(test_status_page.run("--json").stdout))
    page = json.loads(test_status_page.run("pauses", "--json").stdout)
    validator("status-name.schema.json").validate(page)
    assert page["events"]
    assert page["before"]


def test_what_the_reconciler_publishes_is_valid(world: World) -> None:
    """While it rolls out, and when it serves; a document that lacks something is not."""
    check = validator("status.schema.json")
    world.select(demo=1)
    for _ in range(8):
        world.reconciler.one_pass()
        world.systemd.settle()
        document = json.loads((world.directory / "status.json").read_bytes())
        check.validate(document)
    assert document["deployments"][0]["state"] == "serving"
    del document["deployments"][0]["tries"]
    assert not check.is_valid(document)
