"""What to say of a key that no setting has: a typing mistake is told with the key that was meant."""

import difflib

from reconciler.settings.model import Settings, known_keys

_SECRET_WORDS = ("password", "passwd", "token", "secret", "username", "credential")
_NEAR = 0.75
_FAR = 0.5
"""How alike two keys have to be, from 0 to 1."""


def unknown_key(dotted: str) -> str:
    """Say that there is no such key, and which one may be meant; `dotted`: section.key, or a section alone."""
    # Who tries to set a password needs to know where it belongs, not a key that looks alike.
    is_about_a_secret = any(word in dotted.lower() for word in _SECRET_WORDS)
    if is_about_a_secret:
        return "no such key: credentials are not settings; pass them as systemd credentials (LoadCredential=)"
    meant = _meant(dotted)
    if meant is not None:
        return f"no such key; did you mean {meant}?"
    return f"no such key; the sections are {', '.join(Settings.model_fields)}"


def _meant(dotted: str) -> str | None:
    """Find the key or the section that was meant; None when none is like it.

    A small mistake comes first, then the right key in the wrong section, then a larger mistake.
    """
    known = known_keys()
    _, _, leaf = dotted.rpartition(".")
    near = difflib.get_close_matches(dotted, (*known, *Settings.model_fields), n=1, cutoff=_NEAR)
    elsewhere = [key for key in known if key.rpartition(".")[2] == leaf]
    far = difflib.get_close_matches(dotted, known, n=1, cutoff=_FAR)
    return next(iter((*near, *elsewhere, *far)), None)
