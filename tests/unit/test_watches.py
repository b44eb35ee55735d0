"""Enough inotify instances for what is watched, or a finding with the command that allows them."""

import re

import pytest

from reconciler.check.watches import too_few


@pytest.mark.parametrize(("limit", "releases"), [(128, 0), (10, 0), (128, 40), (8192, 1000)])
def test_a_limit_that_suffices_is_no_finding(limit: int, releases: int) -> None:
    """Two for each release, and some for everybody else of root's."""
    assert too_few(limit, releases) is None


@pytest.mark.parametrize(("limit", "releases"), [(128, 41), (128, 1000), (2048, 1001)])
def test_the_mend_of_a_small_limit_suffices(limit: int, releases: int) -> None:
    """Also for as many releases again."""
    finding = too_few(limit, releases)
    assert finding is not None
    assert f"root {limit} inotify instances" in finding.what
    found = re.search(r"max_user_instances=(\d+) ", finding.mend)
    assert found is not None
    assert too_few(int(found[1]), 2 * releases) is None
