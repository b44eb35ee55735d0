"""The page on which people try a model: `try.js` makes a form of what it is told here, and sends it."""

from __future__ import annotations

import json
from html import escape

from modelserver.http.metrics import Identity
from modelserver.model.request_form import RequestForm

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; media-src blob:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Try {name}</title>
<link rel="icon" href="favicon.ico">
<link rel="stylesheet" href="page.css">
<script type="application/json" id="model">{model}</script>
<script src="try.js" defer></script>
</head>
<body>
<header>
<h1>{name}</h1>
<p>Version {version}, release <code>{release}</code>. <a href="docs">How programs ask it</a></p>
</header>
<main>
<noscript><p>This page needs JavaScript. <a href="docs">The description</a> does not.</p></noscript>
<form id="form" novalidate>
<div id="fields"></div>
<div class="row">
<button class="main" id="send">Send</button>
<span id="note" class="quiet" role="status"></span>
</div>
</form>
<section id="result" aria-labelledby="answered" aria-live="polite" hidden>
<h2 id="answered">Answer</h2>
<p class="verdict" id="verdict"></p>
<p class="quiet" id="facts"></p>
<pre id="answer" tabindex="0" aria-label="The whole answer"></pre>
</section>
<details>
<summary>The same request with curl</summary>
<pre id="curl" tabindex="0" aria-label="The request with curl"></pre>
<button type="button" data-copies="curl">Copy as curl</button>
</details>
<details>
<summary>The same request with Python</summary>
<pre id="python" tabindex="0" aria-label="The request with Python"></pre>
<button type="button" data-copies="python">Copy as Python</button>
</details>
</main>
</body>
</html>
"""


def html_page(identity: Identity, form: RequestForm, max_body: int) -> str:
    """The page, to be sent with CONTENT_SECURITY_POLICY. `max_body`: bytes of a request."""
    model = json.dumps({**json.loads(form.as_json()), "maxBody": max_body})
    return _PAGE.format(
        name=escape(identity.deployment),
        version=escape(identity.version),
        release=escape(identity.release),
        # Within a script element, nothing but its end is markup.
        model=model.replace("<", "\\u003c"),
    )
