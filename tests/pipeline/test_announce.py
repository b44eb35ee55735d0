"""The SPIRA API learns of a model when it is registered, or later; MLflow keeps what was registered in any case."""

from collections.abc import Iterator
from types import ModuleType

import pytest
from mlflow import MlflowClient

from tests.mlflow_server import free_port
from tests.pipeline.conftest import Account
from tests.pipeline.test_pipeline import LIGHT, PAUSES
from tests.spira.api import PASSWORD, SpiraApi, spira_api


@pytest.fixture
def api() -> Iterator[SpiraApi]:
    """A running API."""
    with spira_api() as running:
        yield running


def announce(scientist: Account, api: SpiraApi, name: str = "cough", **other: str) -> tuple[int, str]:
    """Run the script for the announcement alone; gives its exit code and all that it printed."""
    done = scientist.run("--announce-only", "--name", name, script=None, **api.environment(**other))
    return done.code, done.out + done.err


def test_a_registered_model_is_announced_with_its_channel(scientist: Account, api: SpiraApi) -> None:
    """By the .env of the original script, in which nothing has to be changed."""
    lines = [f"{key}={value}" for key, value in api.environment(MLFLOW_CONN_URL=scientist.registry).items()]
    scientist.write(".env", "\n".join([*lines, "PATH_TO_PROJECT=/somewhere", "REPOSITORY_URL=git@somewhere"]))
    done = scientist.run("--name", "announced", "--model", PAUSES, *LIGHT, MLFLOW_TRACKING_URI="")
    assert done.code == 0, done.err
    assert api.models == {"announced": "announced-topic"}
    assert "announced announced to the SPIRA API, with the channel announced-topic" in done.out
    assert PASSWORD not in done.out + done.err


def test_a_failed_announcement_leaves_the_registration(scientist: Account, api: SpiraApi) -> None:
    """It has an exit code of its own, and says how to do it again."""
    api.behave = "broken"
    done = scientist.run("--name", "unheard", "--model", PAUSES, *LIGHT, script=None, **api.environment())
    assert done.code == 3
    assert "cannot announce unheard to the SPIRA API: its login answers with HTTP 500" in done.err
    assert "run pipeline.py --announce-only --name unheard; what is registered in MLflow stays as it is" in done.err
    assert "version 1 of unheard is registered and READY" in done.err
    assert "What to do next" in done.out
    versions = MlflowClient(scientist.registry, scientist.registry).search_model_versions("name='unheard'")
    assert [int(version.version) for version in versions] == [1]
    api.behave = ""
    assert announce(scientist, api, "unheard") == (
        0,
        "announced unheard to the SPIRA API, with the channel unheard-topic\n",
    )


@pytest.mark.parametrize("behave", ["", "conflict"])
def test_a_model_that_is_there_already_is_fine(scientist: Account, api: SpiraApi, behave: str) -> None:
    """The API has no status of its own for it."""
    api.models["cough"] = "cough-topic"
    api.behave = behave
    assert announce(scientist, api) == (0, "the SPIRA API knows cough already\n")


@pytest.mark.parametrize(
    ("behave", "why"),
    [
        ("redirect", "it sends on to another address (HTTP 307); put that address into .env"),
        ("page", "its login answers without a token; check AUTH_ENDPOINT"),
        ("no token", "its login answers without a token; check AUTH_ENDPOINT"),
        ("deep", "its login answers without a token; check AUTH_ENDPOINT"),
        ("endless", "its login answers without a token; check AUTH_ENDPOINT"),
        ("broken", "its login answers with HTTP 500; check AUTH_ENDPOINT"),
        ("hang", "it does not answer within 10 s; see whether it runs"),
        ("forbidden", "it answers with HTTP 403: not enough permissions; check MODEL_CREATION_ENDPOINT"),
        ("invalid", "it answers with HTTP 422: model name is not valid?[2J; check MODEL_CREATION_ENDPOINT"),
    ],
)
def test_what_an_api_says_instead_is_told_in_one_sentence(
    scientist: Account, api: SpiraApi, behave: str, why: str
) -> None:
    """Nothing of it hangs, fills memory or steers a terminal."""
    api.behave = behave
    code, printed = announce(scientist, api)
    assert code == 3
    assert printed.startswith(f"cannot announce cough to the SPIRA API: {why}"), printed
    assert printed.count("\n") == 1
    assert "/elsewhere" not in api.paths, "the password went on to another address"
    assert not api.models


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"ACCESS_KEY": "wrong-password"}, 3, "it refuses the login (HTTP 401); check ACCESS_USER and ACCESS_KEY"),
        ({"ACCESS_KEY": ""}, 2, "ACCESS_KEY is not set, though AUTH_ENDPOINT is; set all four in .env, or none"),
        ({"AUTH_ENDPOINT": "spira"}, 2, "it is not an http:// or https:// address; mend it in .env"),
        ({"AUTH_ENDPOINT": "http://[::1"}, 2, "it is not an http:// or https:// address; mend it in .env"),
        (
            {"MODEL_CREATION_ENDPOINT": "http://api.example.org/v1/models"},
            2,
            "the password would cross the network to api.example.org in plain text; use https://",
        ),
    ],
)
def test_settings_that_are_wrong_are_named(
    scientist: Account, api: SpiraApi, changes: dict[str, str], code: int, why: str
) -> None:
    """Before anything is sent, as far as that can be known."""
    ended, printed = announce(scientist, api, **changes)
    assert ended == code
    assert why in printed
    assert "wrong-password" not in printed


def test_an_api_that_is_not_there_is_told(scientist: Account) -> None:
    """At once."""
    code, printed = announce(scientist, SpiraApi(f"http://127.0.0.1:{free_port()}"))
    assert code == 3
    assert "it cannot be reached (ConnectionError); see whether it runs" in printed


def test_without_an_api_there_is_nothing_to_announce(scientist: Account) -> None:
    """`--announce-only` says what it needs."""
    done = scientist.run("--announce-only", "--name", "cough")
    assert done.code == 2
    assert "none of AUTH_ENDPOINT, MODEL_CREATION_ENDPOINT, ACCESS_USER, ACCESS_KEY is set" in done.err


def test_half_an_api_is_refused_before_anything_is_registered(scientist: Account) -> None:
    """The model would be registered, and the API would never know."""
    done = scientist.run("--name", "half", "--model", PAUSES, *LIGHT, AUTH_ENDPOINT="http://127.0.0.1:1/auth")
    assert done.code == 2
    assert "set all four in .env, or none" in done.err
    assert not MlflowClient(scientist.registry, scientist.registry).search_model_versions("name='half'")


@pytest.mark.parametrize(
    ("status", "words", "is_there"),
    [
        (409, "", True),
        (400, "channel already exists", True),
        (422, "Model exists", True),
        (422, "name is not valid", False),
        (401, "already logged out", False),
        (404, "no such model exists", False),
        (500, "already exists", False),
    ],
)
def test_which_refusals_say_that_it_is_there(pipeline: ModuleType, status: int, words: str, is_there: bool) -> None:
    """A server that fails, and a login that is refused, say nothing of models."""
    assert pipeline.is_there_already(status, words) is is_there
