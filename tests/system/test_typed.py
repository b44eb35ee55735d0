"""Every command of every page, typed as a reader would on a host where models serve."""

import re
import time
from collections.abc import Iterator

import pytest

from tests.documents.pages import Command, documents, read
from tests.documents.printed import is_like
from tests.documents.shell import Shell
from tests.host import Layers, Registry, installed_host
from tests.system.deeds import HOME, SETTINGS, serve_models
from tests.system.scenes import ADDRESSES, SCENES, Scene
from tests.system.site import SCIENTIST, Site

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

# A reader looks again until what was asked for has come about.
LOOKS = re.compile(r"(sudo )?(reconciler (status|history|plan|check|logs)|journalctl|systemctl status|curl)\b")
LOOKS_FOR_SECONDS = 60
TYPED = [page for page in documents() if read(page).commands and not SCENES.get(page, Scene()).not_typed]
DROP_IN = re.compile(r"# systemctl edit ([\w@.-]+)")


@pytest.fixture(scope="module")
def site(image: Layers) -> Iterator[Site]:
    """A host on which two models serve; all pages share it."""
    with installed_host(image, "typed", settings=SETTINGS) as host:
        registry = Registry(host, host.registry_port)
        registry.start()
        site = Site(host, registry)
        serve_models(site)
        yield site


@pytest.mark.parametrize("page", TYPED)
def test_every_command_of_a_page_does_what_the_page_says(site: Site, page: str) -> None:
    """In order, with the exit status and the output that the page shows."""
    scene = SCENES.get(page, Scene())
    due = list(scene.before)
    try:
        if scene.prepare:
            scene.prepare(site)
        with (
            Shell(site.host, f"/root/{page.replace('/', '-')}", None) as root,
            Shell(site.host, HOME, SCIENTIST, "/opt/mlflow-reconciler/venv/bin:") as person,
        ):
            for command in read(page).commands:
                if due and due[0][0] == command.text:
                    due.pop(0)[1](site)
                type_it(site, scene, root if command.by_root else person, command)
    finally:
        if scene.clear:
            scene.clear(site)
    assert not due, f"{page} has no command '{due[0][0]}'"


def type_it(site: Site, scene: Scene, shell: Shell, command: Command) -> None:
    """Type a command, and again while it only looks and does not show what the page says."""
    words = {**ADDRESSES, **scene.words}
    here = {shown: instead(site) for shown, instead in words.items() if shown in command.text + command.printed}
    text = command.text
    for shown, instead in here.items():
        text = text.replace(shown, instead)
    end = time.monotonic() + (LOOKS_FOR_SECONDS if LOOKS.match(text) else 0)
    while True:
        status, printed = shell.type(text, is_script=command.is_script)
        as_shown = printed
        for shown, instead in here.items():
            as_shown = as_shown.replace(instead, shown)
        is_right = status == command.status and (not command.printed or is_like(command.printed, as_shown))
        if is_right:
            return
        if time.monotonic() > end:
            break
    pytest.fail(
        f"{command.place}: `{text}` ended with {status} and printed:\n{printed}\n"
        f"The page says {command.status} and shows:\n{command.printed or 'nothing'}",
        pytrace=False,
    )


def test_drop_ins_are_accepted_by_systemd(site: Site) -> None:
    """Those that a page has somebody write with `systemctl edit`."""
    units = set()
    for page in documents():
        for block in read(page).blocks:
            if block.language == "ini" and (named := DROP_IN.match(block.text)):
                unit = f"{named[1]}.service" if "." not in named[1] else named[1]
                site.host.write(f"/run/systemd/system/{unit}.d/documented-{block.line}.conf", block.text)
                units.add(unit)
    said = site.host.run(["systemd-analyze", "verify", "--man=no", *sorted(units)])
    assert "documented-" not in said.stderr
