"""A page from elsewhere cannot have a browser send a request to a model; everybody else can, as before."""

from __future__ import annotations

import json

import httpx
import pytest

from modelserver.http.foreign_page import is_from_foreign_page
from tests.modelserver.conftest import Address

HERE = "127.0.0.1:20001"
MET = [
    # What clients send that are no browsers: nothing of it.
    ({"host": HERE}, False),
    ({}, False),
    ({"host": "models.example.org", "x-forwarded-host": "models.example.org"}, False),
    # Browsers on loopback and over TLS.
    ({"host": HERE, "sec-fetch-site": "same-origin", "origin": f"http://{HERE}"}, False),
    ({"host": HERE, "sec-fetch-site": "none"}, False),
    ({"host": HERE, "sec-fetch-site": "cross-site", "origin": "https://evil.example"}, True),
    ({"host": HERE, "sec-fetch-site": "cross-site", "origin": "null"}, True),
    ({"host": HERE, "sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"}, True),
    ({"host": HERE, "sec-fetch-site": "cross-site", "origin": f"http://{HERE}"}, True),
    # nginx passes on another Host than the one that it was asked by.
    ({"host": "localhost", "sec-fetch-site": "same-origin", "origin": "https://models.example.org"}, False),
    # Browsers that say nothing of the site: to plain HTTP elsewhere, and older ones.
    ({"host": HERE, "origin": f"http://{HERE}"}, False),
    ({"host": HERE, "origin": "http://127.0.0.1:3000"}, True),
    ({"host": HERE, "origin": f"https://{HERE}"}, False),
    ({"host": HERE, "origin": "null"}, True),
    ({"host": HERE, "origin": ""}, True),
    ({"host": HERE, "origin": f"file://{HERE}"}, True),
    ({"host": HERE, "origin": "http://evil.example"}, True),
    ({"host": "inference1:20001", "origin": "http://inference1:20001"}, False),
    ({"host": "INFERENCE1", "origin": "http://inference1"}, False),
    ({"host": "inference1", "origin": "http://inference1:8080"}, True),
    ({"host": "models.example.org", "origin": "https://models.example.org"}, False),
    ({"host": "models.example.org:443", "origin": "https://models.example.org"}, False),
    ({"host": "localhost", "origin": "https://models.example.org"}, True),
    ({"host": "localhost", "x-forwarded-host": "a.example, b", "origin": "https://a.example"}, False),
    # A name that was made to mean this address after the page was loaded: the page is at home there.
    ({"host": "evil.example:20001", "origin": "http://evil.example:20001"}, True),
    ({"host": "evil.example", "origin": "http://evil.example"}, True),
    ({"host": HERE, "x-forwarded-host": "evil.example", "origin": "http://evil.example"}, True),
    ({"host": "evil.example", "x-forwarded-host": HERE, "origin": "http://evil.example"}, True),
    ({"host": "127.0.0.1.evil.example", "origin": "http://127.0.0.1.evil.example"}, True),
]


@pytest.mark.parametrize(("headers", "foreign"), MET, ids=lambda value: str(value).replace(" ", ""))
def test_who_is_a_foreign_page(headers: dict[str, str], foreign: bool) -> None:
    """By what browsers say of it, and of methods that change something only."""
    sent = [(name.encode(), value.encode()) for name, value in headers.items()]
    assert is_from_foreign_page(b"POST", sent) is foreign
    assert is_from_foreign_page(b"PUT", sent) is foreign
    for safe in (b"GET", b"HEAD", b"OPTIONS"):
        assert not is_from_foreign_page(safe, sent)


@pytest.mark.parametrize("path", ["/predict", "/invocations", "/ping"])
def test_it_is_refused_before_its_body_is_asked_for(path: str, echo: Address) -> None:
    """With a sentence, and without being counted against the release; the model sees nothing of it."""
    told = {"origin": "https://evil.example", "sec-fetch-site": "cross-site", "expect": "100-continue"}
    answer = echo.client.post(path, content=b"x" * 100_000, headers=told)
    assert answer.status_code == 403
    assert answer.json()["message"].startswith("cannot answer: a web page that is not of this server sent this request")
    assert answer.headers["model-release"] == "echo@1.0badcafe"
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_a_foreign_page_is_not_given_leave_to_ask_with_its_own_headers(echo: Address) -> None:
    """The question that a browser asks before it lets a page set a header is not answered with a yes."""
    asked = {"origin": "https://evil.example", "access-control-request-method": "POST"}
    answer = echo.client.options("/predict", headers={**asked, "access-control-request-headers": "x-forwarded-host"})
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control-")]


def test_behind_a_proxy_a_page_of_the_proxy_is_answered(echo: Address) -> None:
    """nginx's default Host for a unix socket is localhost; over TLS a browser says that the page is of that origin."""
    told = {"origin": "https://models.example.org", "sec-fetch-site": "same-origin", "host": "localhost"}
    with httpx.Client(transport=httpx.HTTPTransport(uds=echo.unix), base_url="http://model") as client:
        files = {"metadata": (None, json.dumps({"age": 1}))}
        assert client.post("/predict", files=files, headers=told).status_code == 200
