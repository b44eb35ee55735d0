"""What has to be so on the host before a page is typed: a table of pages and of the deeds that bring it about.

A page that is not in the table is typed on a host where `pauses` (two versions, the second serves) and `iris` serve.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.system import deeds
from tests.system.site import Site

Deed = Callable[[Site], None]


@dataclass(frozen=True)
class Scene:
    """What a page needs beside the models that serve already."""

    prepare: Deed | None = None
    before: tuple[tuple[str, Deed], ...] = ()
    """What is done before a command of the page, which is named as the page has it; in the page's order."""
    clear: Deed | None = None
    """What is done after the page."""
    words: Mapping[str, Callable[[Site], str]] = field(default_factory=dict)
    """What stands on the page, and what is typed instead; what is printed is read the other way round."""
    not_typed: str = ""
    """Why not; its commands are given to their parsers, as those of every page."""


def address(name: str) -> Callable[[Site], str]:
    """Where a deployment answers on this host."""
    return lambda site: str(site.statuses()[name]["url"]).removeprefix("http://")


def plan_that_waits(site: Site) -> str:
    """The name of the plan that waits for a person."""
    shown = site.host.run(["reconciler", "plan", "--json"], check=False)
    return str(json.loads(shown.stdout)["id"])


ADDRESSES: Mapping[str, Callable[[Site], str]] = {
    "127.0.0.1:5000": lambda site: site.registry.uri.removeprefix("http://"),
    "127.0.0.1:20001": address("pauses"),
    "127.0.0.1:20002": address("iris"),
    "127.0.0.1:20828": address("pauses"),
    "ADDRESS": address("pauses"),
    "inference1": lambda site: site.host.name,
}
"""The addresses that pages give to what they speak of."""

SCENES: Mapping[str, Scene] = {
    "README.md": Scene(words={"--name pauses": lambda _: "--name pauses-of-readme"}),
    "docs/audit.md": Scene(
        words={"2026-11-24T14:03": deeds.while_version_1_served, "2026-11-25T09:15": deeds.while_version_1_served}
    ),
    "docs/cli.md": Scene(prepare=deeds.go_wrong, clear=deeds.go_well),
    "docs/first-model.md": Scene(
        prepare=deeds.write_cough,
        words={
            "--name pauses": lambda _: "--name pauses-of-page",
            "--name cough": lambda _: "--name cough-of-page",
            "about pauses": lambda _: "about pauses-of-page",
            "pauses could": lambda _: "pauses-of-page could",
            "answers; pauses is": lambda _: "answers; pauses-of-page is",
        },
    ),
    "docs/reference/states.md": Scene(not_typed="it is recorded from a host by a program"),
    "docs/rollouts.md": Scene(
        before=(
            ("reconciler apply", deeds.take_three_away),
            ("reconciler plan", deeds.confirm_each_change),
        ),
        clear=deeds.confirm_nothing,
        words={
            "--to 2": lambda _: f"--to {deeds.PYTHON_ELSEWHERE}",
            "41c3b80e92d7": plan_that_waits,
        },
    ),
    "docs/serving.md": Scene(prepare=deeds.write_files),
    "docs/troubleshooting.md": Scene(
        prepare=deeds.fail_in_soak,
        before=(("systemctl status mlflow-registry-agent", deeds.promote_what_is_not_allowed),),
        clear=deeds.forget_what_is_not_allowed,
    ),
}
