"""docs/reference/tags.md: the tags in the registry that are read and written."""

from collections.abc import Iterator

from reconciler.core.registry import host_tags, tag_words
from reconciler.core.registry.host_abilities import EXPERIMENT, PREFIX, Abilities
from reconciler.core.registry.reading import Version
from reconciler.core.registry.tags import KEYS, OF_ROLLOUT
from reconciler.core.state.release import Parameters, Rollout
from reconciler.core.state.setting_kinds import declarations
from reconciler.core.state.snapshot import TAG_PREFIX
from reconciler.core.state.status import State
from reconciler.settings.model import PolicySettings
from tests.reference.text import MADE, fold, item, markdown, page
from tests.reference.transcripts import scene
from tests.reference.words import words

STATES = {
    State.PREPARING: "The host fetches the files, builds the environment and verifies both.",
    State.ROLLING_OUT: "The version starts beside the one that serves now and answers your example.",
    State.SERVING: "It answers requests. If another version is wanted, the tag says which, and why that one does not "
    "answer.",
    State.IDLE: "Nobody asked it anything, so it has ended; the next request starts it.",
    State.HELD: "The host's operators have to confirm it first; a version that served before goes on serving.",
    State.NOT_DEPLOYABLE: "The host does not take it: its name, a tag, or the host's policy. The message says what "
    "to do.",
    State.PENDING: "The host has not read the registry yet.",
    State.REMOVING: "The host takes the version out of service.",
    State.DEGRADED: "It does not come into service; the version that the message names still serves. The message says "
    "why.",
    State.FAILED: "It does not come into service, and no earlier version serves. The message says why.",
    State.SUSPENDED: "An operator of the host told it to leave the model as it is; ask them when that ends.",
    State.STALLED: "The host's repairs are undone again and again; its operators have to look at it first.",
}
"""The states in words for the people who made the model."""
OTHERS = {
    tag_words.STANDBY: "A newer version is in its first minutes; if that one fails, this version takes over again.",
    host_tags.REMOVED: "It was here and is no longer selected. Its files may be kept for a while: promote it again to "
    "have it served.",
}
_HOST = host_tags.Host("deployed.inference1", "1a2b3c4d")


def tags_page() -> str:
    """Write docs/reference/tags.md."""
    chosen = ", ".join(f"`{key}`" for key in PolicySettings().tags)
    return page(
        "# Tags in the registry",
        MADE,
        f"## Read: `{TAG_PREFIX}<key>`",
        fold(
            f"A tag `{TAG_PREFIX}<key>` on a model version changes a setting for that version, if `policy.tags` of the "
            f"host lists the key (by default {chosen}). [settings.md](settings.md#deploy) says what each of them does. "
            "A version with a tag that the host does not know or does not allow is refused."
        ),
        [item(f"`{TAG_PREFIX}{key}`", _wanted(key)) for key in KEYS],
        "## Written: `deployed.<host>`",
        fold(
            "Each host that follows a model writes this tag on each of its versions that are there or wanted. Its "
            "first word says how the version fares. It ends with the time when it was last true, and with eight digits "
            "that stand for the host whatever its name. It is renewed every hour; if that time is more than three "
            "hours ago, the host is off, gone, or does not reach the registry."
        ),
        *(block for state in State for block in _state(state)),
        *(block for word, about in OTHERS.items() for block in (f"### `{word}`", about)),
        f"## Written: `{PREFIX}<host>`",
        fold(
            f"A tag of the experiment `{EXPERIMENT}`, which has no runs: what the host can do for a model, as JSON. "
            "`pipeline.py` compares a model with it before anything is promoted."
        ),
        [item(f"`{name}`", markdown(about).replace("None", "null")) for name, about in _abilities()],
        "## Written by `pipeline.py`",
        [
            item("`registered_by`, on a version", "The account of whoever ran it."),
            item("`pipeline.model`, on the run", "The name of the model."),
        ],
    )


def _wanted(key: str) -> str:
    kind = {**declarations(Parameters), **declarations(Rollout)}[key].kind
    release = "; makes no new release" if key in OF_ROLLOUT else ""
    return f"{markdown(kind.wanted)}{release}"


def _abilities() -> Iterator[tuple[str, str]]:
    yield "schema", "1."
    yield "seen", "When it was last true."
    yield "host", "The eight digits of the host."
    yield from words(Abilities).items()


def _state(state: State) -> Iterator[str]:
    yield f"### `{state}`"
    yield fold(STATES[state])
    one, document = scene(state).page.deployment, scene(state).status
    numbers = {number for number in (one.desired_version, one.active_version, one.standby_version) if number}
    versions = [Version(one.name, int(number)) for number in sorted(numbers)]
    for tag in host_tags.due(document, versions, _HOST, scene(state).at):
        yield f"```\n{fold(f'version {tag.version}: {tag.value}', indent='  ')}\n```"
