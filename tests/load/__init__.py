"""Load that judges every answer, for tests that replace a model server while it is asked all the time.

with Load({"1": {"output": [0.1], "diagnosis": "negative"}, "2": ...}, tcp=("127.0.0.1", 8000)) as load:
    load.wait_for_more(1000, release="1")
    ...  # replace version 1; it is gone at `gone = time.monotonic()`
    load.wait_for_more(1000, release="2")
assert load.totals.harm() == []
assert load.totals.latest_connect("1") < gone
"""

from tests.load.process import Load, LoadError
from tests.load.totals import Release, Totals

__all__ = ["Load", "LoadError", "Release", "Totals"]
