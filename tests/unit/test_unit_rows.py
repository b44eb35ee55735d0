"""The quick reading of systemd's list comes to the same as the slow one, whatever a unit's description says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.adapters.unit_reading import Row
from reconciler.adapters.unit_rows import SIGNATURE
from reconciler.core.units import names

gi = pytest.importorskip("gi")

WORD = st.sampled_from(["", "loaded", "active", "running", "start", "auto-restart"])
NAME = st.sampled_from(
    [
        names.server_unit("demo", "1.00000000"),
        names.slice_unit("a-b-c"),
        names.fetch_unit("demo", 7),
        "somebody.service",
        "model-it's.service",
        'model-"x".service',
    ]
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20) | st.sampled_from(
    ["it's", '"', "\\", "'\\\"", "), ('x', ", "\n', '", "\u202e", "(1, 2)", "\\'"]
)
UNIT = st.tuples(
    NAME,
    TEXT,
    WORD,
    WORD,
    WORD,
    TEXT,
    st.sampled_from(["/", "/org/freedesktop/systemd1/unit/model_2dx"]),
    st.integers(0, 2**32 - 1),
    WORD,
    st.just("/"),
)


@given(st.lists(UNIT, max_size=6))
def test_every_unit_of_ours_is_read_as_it_was_sent(units: list[tuple[object, ...]]) -> None:
    """Also beside descriptions that look like the end of a row."""
    from gi.repository import GLib

    from reconciler.adapters.unit_rows import rows_of

    wanted = [
        Row(str(name), str(load), str(active), str(sub), str(job), str(path))
        for name, _, load, active, sub, _, path, _, job, _ in units
        if names.is_ours(str(name))
    ]
    assert rows_of(GLib.Variant(SIGNATURE, (units,))) == wanted
