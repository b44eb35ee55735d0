"""The one name that is imported."""

from typing import Any


class CSRFProtect:
    """Protects no form: the tests fill in none."""

    def init_app(self, app: Any) -> None:
        """Take the application as it is."""

    def protect(self) -> None:
        """Refuse: nobody should come here."""
        raise RuntimeError("the sign-up page is not part of the tests")
