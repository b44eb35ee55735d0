"""The description for people who write a client: the endpoints, in the order in which this model uses them."""

from __future__ import annotations

import json
import re
import shlex
from html import escape

from modelserver.http.api_description import ENDPOINTS, Endpoint, limits_sentence
from modelserver.model.json_text import without_nan
from modelserver.model.request_form import FormKind, RequestForm

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_LONGEST_EXAMPLE = 2000
"""Characters of a request that is still good to copy."""


def html_page(release: str, max_body: int, form: RequestForm, takes_files: bool, address: str, has_page: bool) -> str:
    """The page, to be sent with CONTENT_SECURITY_POLICY. It has no scripts and needs nothing from any network.

    `takes_files`: whether /predict may be for this model. `address`: how the reader has reached this server, without a
    path. `has_page`: whether there is a page to try the model.
    """
    shown = [endpoint for endpoint in ENDPOINTS if takes_files or endpoint.path != "/predict"]
    shown.sort(key=lambda endpoint: endpoint.path != form.path)
    sections = "".join(_section(endpoint, _example(endpoint, form, address)) for endpoint in shown)
    title = escape(release)
    try_it = '<p><a href="./">Try it in the browser</a></p>' if has_page else ""
    no_files = "" if takes_files else "<p>This model takes no recordings: <code>/predict</code> answers 501.</p>"
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{title}</title><link rel="icon" href="favicon.ico"><link rel="stylesheet" href="page.css"></head>'
        f"<body><header><h1>{title}</h1><p>{_marked_up(limits_sentence(max_body))}</p>{try_it}{no_files}</header>"
        f'<main>{sections}</main><footer><p>For programs: <a href="openapi.json">openapi.json</a></p></footer>'
        "</body></html>"
    )
    return page.encode(errors="replace").decode()  # JSON of an author's may have halves of characters


def _section(endpoint: Endpoint, example: str) -> str:
    accepts = f"<p>Takes {_marked_up(', '.join(f'`{kind}`' for kind in endpoint.accepts))}.</p>"
    rows = "".join(
        f"<tr><td>{status}</td><td>{escape(media_type)}</td><td>{_marked_up(meaning)}</td></tr>"
        for status, media_type, meaning in endpoint.answers
    )
    parts = (
        f"<section><h2><code>{endpoint.method} {escape(endpoint.path)}</code></h2>",
        f"<p>{_marked_up(_ended(endpoint.summary))}</p>",
        f'<pre tabindex="0" aria-label="A request to copy">{escape(example)}</pre>' if example else "",
        accepts if endpoint.accepts else "",
        f"<p>{_marked_up(endpoint.notes)}</p>" if endpoint.notes else "",
        "<table><tr><th scope=col>Status</th><th scope=col>Type</th><th scope=col>Content</th></tr>",
        f"{rows}</table></section>",
    )
    return "".join(parts)


def _example(endpoint: Endpoint, form: RequestForm, address: str) -> str:
    """A request for the command line; empty where none helps."""
    command = f"curl {address}{endpoint.path}"
    if endpoint.path == "/predict":
        # Not -F: that would look for ;type= in the text.
        metadata = shlex.quote(f"metadata={without_nan(json.dumps(form.metadata, ensure_ascii=False))}")
        files = [f"-F {shlex.quote(f'{name}=@{name}.wav')}" for name in form.parts or ("audio",)]
        return " \\\n  ".join((command, f"--form-string {metadata}", *files))
    if endpoint.path == "/invocations" and form.kind is not FormKind.RECORDINGS:
        body = _short_body(form)
        return f"{command} \\\n  -H 'Content-Type: application/json' \\\n  -d {shlex.quote(body)}" if body else ""
    return command if endpoint.path == "/ping" else ""


def _short_body(form: RequestForm) -> str:
    """The logged example with one row, or whole; empty where it is long."""
    if form.kind is FormKind.TABLE:
        columns = [column.name for column in form.columns]
        body = {"dataframe_split": {"columns": columns, "data": [list(row) for row in form.rows[:1]]}}
        text = json.dumps({**body, "params": form.params} if form.params else body, ensure_ascii=False)
    else:
        text = json.dumps(json.loads(form.body), ensure_ascii=False)
    return without_nan(text) if len(text) <= _LONGEST_EXAMPLE else ""


def _marked_up(text: str) -> str:
    """HTML of a sentence in which what is between backticks is code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(text))


def _ended(sentence: str) -> str:
    return sentence if sentence.endswith("?") else f"{sentence}."
