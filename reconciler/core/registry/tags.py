"""Reads the tags `deploy.<key>`, by which a data scientist says how a model is run.

Which keys there are and what each may say is declared at the fields of `Parameters` and `Rollout`.
"""

from collections.abc import Mapping

from reconciler.core.state.release import Parameters, Rollout
from reconciler.core.state.setting_kinds import declarations
from reconciler.core.state.snapshot import TAG_PREFIX

OF_ROLLOUT = frozenset(declarations(Rollout))
"""Keys that make no other release."""
_DECLARED = {**declarations(Parameters), **declarations(Rollout)}
KEYS = tuple(key for key, declaration in _DECLARED.items() if declaration.by_tag)
"""Keys that the policy may list, in the order of the settings."""
SETTABLE = frozenset(KEYS)
_MAX_SHOWN = 60


class TagError(Exception):
    """A tag that cannot be used; the message is the deployment's reason."""


def read_tags(settings: Mapping[str, str], allowed: frozenset[str]) -> dict[str, object]:
    """Read what a version's tags say, by key. Each value has the type of its field.

    `settings`: the tags without their prefix. `allowed`: the keys that the policy lists. Raises TagError at the first
    tag, in alphabetical order, that cannot be used: a version runs as all of its tags say or not at all.
    """
    # Sorted, so that a version with several wrong tags has the same reason in every pass.
    return {key: _read_tag(key, text, allowed) for key, text in sorted(settings.items())}


def _read_tag(key: str, text: str, allowed: frozenset[str]) -> object:
    """Read one tag. Raises TagError.

    The key and the text are anybody's: what the sentence shows of them is short, and quoted where it could be anything.
    """
    tag = f"{TAG_PREFIX}{key[:_MAX_SHOWN]}"
    if key not in SETTABLE:
        # Only what the policy allows is proposed; another key would be refused the next time.
        known = ", ".join(f"{TAG_PREFIX}{other}" for other in sorted(SETTABLE & allowed))
        raise TagError(f"cannot use the tag {tag!r}: no such setting; this host knows {known or 'none'}")
    if key not in allowed:
        raise TagError(
            f"cannot use the tag {tag}: this host's policy does not allow it; "
            "remove the tag, or ask the host's operators to list it in policy.tags"
        )
    kind = _DECLARED[key].kind
    value: object = kind.read_tag(text)
    if value is None:
        shown = repr(text[:_MAX_SHOWN])
        raise TagError(f"cannot use the tag {tag}={shown}: it should be {kind.wanted}; set it again in the registry")
    return value
