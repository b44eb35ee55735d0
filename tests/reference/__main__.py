"""`python -m tests.reference`: write all pages that are made from the code."""

from tests.reference.pages import DOCS, PAGES

for name, made in PAGES.items():
    (DOCS / name).write_text(made())
