"""The table of docs/compatibility.md: rows of new trials replace older ones, and the text around it stays."""

import pytest

from tests.compatibility.cases import CASES
from tests.compatibility.table import BEGIN, DOCUMENT, END, ROW, update
from tests.compatibility.trial import Measured

TEXT = f"# Title\n\n{BEGIN}\n{END}\n\nAfter | all |\n"
ORDER = ["numba", "scikit-learn", "torch"]
GOOD = Measured("1.2.3", 300 * 1024**2, 5.55, 1.2, 150 * 1024**2, 6)


def test_rows_are_replaced_by_name_and_stay_in_order() -> None:
    """One trial of one package changes its row alone."""
    first = update(TEXT, "Measured once.", {"torch": "fails | here", "numba": GOOD}, ORDER)
    second = update(first, "Measured again.", {"scikit-learn": GOOD, "torch": GOOD}, ORDER)
    assert "| torch | | | | | | | fails, see below |" in first
    assert "- torch: fails &#124; here\n" in first
    names = [match[1] for match in ROW.finditer(second)]
    assert names == ["package", *ORDER]
    assert "| numba | 1.2.3 | 300 MiB | 5.5 s | 1.2 s | 150 MiB | 6 | right |" in second
    assert "see below" not in second
    assert "- torch" not in second
    assert "Measured again." in second
    assert "Measured once." not in second
    assert second.startswith("# Title\n")
    assert second.endswith("\nAfter | all |\n")


def test_a_failure_that_was_long_goes_as_a_whole() -> None:
    """Its sentence is wrapped, and no line of it is left behind."""
    long = update(TEXT, "Measured.", {"torch": "it fails because " * 30}, ORDER)
    assert max(map(len, long.splitlines())) <= 120
    assert "because" not in update(long, "Measured.", {"torch": GOOD}, ORDER)


def test_a_document_without_a_place_for_the_table_is_refused() -> None:
    """Nothing is written somewhere else."""
    with pytest.raises(ValueError, match="put them back"):
        update("# Title\n", "Measured.", {"torch": GOOD}, ORDER)


def test_every_package_that_is_tried_has_its_row() -> None:
    """A new case is measured before it is merged."""
    written = DOCUMENT.read_text().partition(BEGIN)[2].partition(END)[0]
    assert [match[1] for match in ROW.finditer(written)][1:] == [case.name for case in CASES]
