"""Hostile values in unit files: what systemd itself parsed is compared, over D-Bus, with what was meant."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.render import Renderer
from reconciler.core.planner import unit_values
from reconciler.core.planner.actions import Render
from reconciler.core.state.release import Parameters, Release
from reconciler.core.text.quote import one_line, quote, quote_argument, quote_sentence
from reconciler.daemon.desired import step_settings
from reconciler.settings.model import Settings
from tests.host import Host
from tests.host.host import CHECKOUT
from tests.hostile import values

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

UNITS = "/etc/systemd/system"
SYSTEMD = "org.freedesktop.systemd1"
OF_A_UNIT = 50
"""Values of a kind in one unit."""
STEPS = replace(step_settings(Settings()), index_url="https://i", find_links=("/w",))
RELEASE = Release("demo", 1, "models:/m-1", Parameters())
CARRY = {"Environment", "ExecStart", "ExecStartEx"}
FOLLOW_FROM_NAME = {"Id", "Names", "FragmentPath", "Description", "LogExtraFields"}
FOLLOW_FROM_VERSION = {"StateDirectory", "StateDirectorySymlink", "BindPaths", "BindReadOnlyPaths", "RequiresMountsFor"}
FOLLOW_FROM_VERSION |= {"NoExecPaths"}
MAY_DIFFER = CARRY | FOLLOW_FROM_NAME | FOLLOW_FROM_VERSION
"""Properties in which one step's unit may differ from another's."""


class Bus:
    """The system bus of a booted host, and what its systemd parsed."""

    def __init__(self, host: Host) -> None:
        """Connect."""
        from gi.repository import Gio

        self.host = host
        kind = Gio.DBusConnectionFlags
        self._bus = Gio.DBusConnection.new_for_address_sync(
            f"unix:path=/proc/{host.init}/root/run/dbus/system_bus_socket",
            kind.AUTHENTICATION_CLIENT | kind.MESSAGE_BUS_CONNECTION,
            None,
            None,
        )

    def _call(self, path: str, interface: str, method: str, *arguments: str) -> Any:
        from gi.repository import Gio, GLib

        given = GLib.Variant(f"({'s' * len(arguments)})", arguments)
        answer = self._bus.call_sync(
            SYSTEMD, path, interface, method, given, None, Gio.DBusCallFlags.NONE, 30_000, None
        )
        return answer.unpack()

    def write(self, texts: dict[str, str]) -> None:
        """Have these units, and systemd read them."""
        directory = Path(f"/proc/{self.host.init}/root{UNITS}")
        for unit, text in texts.items():
            (directory / unit).write_bytes(text.encode())
        self._call("/org/freedesktop/systemd1", f"{SYSTEMD}.Manager", "Reload")

    def parsed(self, unit: str) -> dict[str, Any]:
        """Every property of a unit."""
        (path,) = self._call("/org/freedesktop/systemd1", f"{SYSTEMD}.Manager", "LoadUnit", unit)
        found: dict[str, Any] = {}
        for interface in (f"{SYSTEMD}.Unit", f"{SYSTEMD}.Service"):
            found |= self._call(path, "org.freedesktop.DBus.Properties", "GetAll", interface)[0]
        return found


@pytest.fixture(scope="module")
def bus() -> Iterator[Bus]:
    """A host without the product."""
    with Host("quoting", private_network=True) as host:
        yield Bus(host)


def counted(tried: int, escaped: Sequence[object]) -> None:
    """Print the figures; none may have escaped."""
    print(f"hostile inputs tried {tried}, escaped {len(escaped)}")  # noqa: T201 - the figure
    assert not escaped, escaped[:5]


def arguments_of(parsed: dict[str, Any], key: str = "ExecStart") -> list[list[str]]:
    """The argument lists of a unit's commands."""
    return [command[1][1:] for command in parsed[key]]


def unordered(value: Any) -> Any:
    """Some lists systemd gives in the order of a hash table."""
    return sorted(value, key=repr) if isinstance(value, list) else value


def test_systemd_reads_every_value_back_as_it_was_meant(bus: Bus) -> None:
    """Descriptions, environments, arguments and fields of the journal, and nothing beside them."""
    meant: dict[str, list[str]] = {}
    texts: dict[str, str] = {}
    tried = 0
    hostile = values(1500)
    for number in range(1500 // OF_A_UNIT):
        group = list(islice(hostile, OF_A_UNIT))
        unit = f"hostile-{number}.service"
        meant[unit] = group
        lines = ["[Unit]", f"Description={quote_sentence('a ' + group[0])}", "[Service]", "Type=oneshot"]
        for place, value in enumerate(group):
            lines.append(f"Environment={quote(f'V{place}={value}')}")
            lines.append(f"ExecStart=/bin/true {quote_argument(value)} end")
            lines.append(f"LogExtraFields={quote(f'F{place}={value}')}")
            tried += 3
        texts[unit] = "\n".join([*lines, "User=daemon", ""])
        tried += 1
    bus.write(texts)
    escaped: list[object] = []
    for unit, group_ in meant.items():
        parsed = bus.parsed(unit)
        checks = (
            (parsed["LoadState"], "loaded"),
            (parsed["Description"].removesuffix("\\."), one_line("a " + group_[0]).removesuffix("\\")),
            (parsed["User"], "daemon"),
            (parsed["ExecStartPre"], []),
            *zip(parsed["Environment"], (f"V{place}={value}" for place, value in enumerate(group_)), strict=False),
            (len(parsed["Environment"]), len(group_)),
            # What is sent is each `$` doubled; that a program gets it single is the next test.
            *zip(arguments_of(parsed), ([value.replace("$", "$$"), "end"] for value in group_), strict=False),
            (len(parsed["ExecStart"]), len(group_)),
            *zip(
                (bytes(field).decode() for field in parsed["LogExtraFields"]),
                (f"F{place}={value}" for place, value in enumerate(group_)),
                strict=False,
            ),
            (len(parsed["LogExtraFields"]), len(group_)),
        )
        escaped += [(unit, was, should) for was, should in checks if was != should]
    counted(tried, escaped)


def test_a_program_gets_every_value_as_it_was_meant(bus: Bus) -> None:
    """Systemd replaces `%` when it reads a unit and `$` when it starts a program: here it has done both."""
    group = [value for value in values(400, seed=2) if value]
    program = "import json,os,sys; json.dump([sys.argv[1:], dict(os.environ)], open('/run/got.json', 'w'))"
    text = "[Service]\nType=oneshot\n"
    text += "".join(f"Environment={quote(f'V{place}={value}')}\n" for place, value in enumerate(group))
    words = " ".join(quote_argument(value) for value in group)
    bus.write({"runs.service": f"{text}ExecStart=/usr/bin/python3 -c {quote_argument(program)} {words}\n"})
    bus.host.run(["systemctl", "start", "runs.service"])
    arguments, environment = json.loads(bus.host.read("/run/got.json"))
    escaped = [pair for pair in zip(arguments, group, strict=False) if pair[0] != pair[1]]
    escaped += [
        (environment.get(f"V{n}", ""), value) for n, value in enumerate(group) if environment.get(f"V{n}") != value
    ]
    assert len(arguments) == len(group)
    counted(2 * len(group), escaped)
    assert bus.host.run("ls /escaped", check=False).returncode


def test_the_units_of_the_steps_carry_hostile_values_and_differ_in_nothing_else(bus: Bus) -> None:
    """The real templates: sources, schemes and addresses of the registry and the index, of a hostile writer."""
    renderer = Renderer([CHECKOUT / "templates"], lambda _unit, _text: None)
    hostile = list(values(300, seed=3))
    rendered: list[tuple[Render, str]] = []
    for number, value in enumerate(hostile, 1):
        steps = replace(
            STEPS, registry_uri=value, fetch_schemes=(value,), index_url=f"i{value}", find_links=(value, f"-{value}")
        )
        release = replace(RELEASE, version=number, source=value)
        rendered.append((unit_values.fetch(release, steps), value))
        rendered.append((unit_values.build(replace(RELEASE), f"{number:032x}", steps), value))
    plain = [unit_values.fetch(RELEASE, STEPS), unit_values.build(RELEASE, "0" * 32, STEPS)]
    bus.write(
        {one.unit: renderer.render(one) for one, _ in rendered}
        | {f"plain-{n}.service": renderer.render(one) for n, one in enumerate(plain)}
    )
    usual = [bus.parsed(f"plain-{number}.service") for number in range(2)]
    escaped: list[object] = []
    for number, (one, value) in enumerate(rendered):
        parsed, like = bus.parsed(one.unit), usual[number % 2]
        (arguments,) = arguments_of(parsed)
        carried = value.replace("$", "$$")
        if number % 2 == 0:
            wanted = [arguments[arguments.index(f"--{option}") + 1] for option in ("source", "schemes")]
            right = wanted == [carried, carried] and f"MLFLOW_TRACKING_URI={value}" in parsed["Environment"]
            right = right and len(parsed["Environment"]) == len(like["Environment"])
        else:
            start = arguments.index("--index-url")
            # The one thing in it that follows from the name: where the build has its temporary files.
            own = f"TMPDIR=/var/lib/mlflow-deploy/environments/{arguments[arguments.index('--digest') + 1]}"
            right = own in parsed["Environment"] and len(parsed["Environment"]) == len(like["Environment"])
            right = right and arguments[start:] == [
                *("--index-url", f"i{carried}", "--find-links", carried, "--find-links", f"-{carried}")
            ]
        # What takes its credentials away names the unit, and nothing of the values.
        (afterwards,) = arguments_of(parsed, "ExecStartPost")
        right = right and afterwards[-1] == f"/run/credentials/{one.unit}"
        right = right and [afterwards[:-1]] == [words[:-1] for words in arguments_of(like, "ExecStartPost")]
        differs = {key for key in parsed.keys() | like.keys() if unordered(parsed.get(key)) != unordered(like.get(key))}
        if not right or not differs - {"ExecStartPost", "ExecStartPostEx"} <= MAY_DIFFER:
            escaped.append((one.unit, value, differs, arguments))
    counted(3 * len(hostile) + 3 * len(hostile), escaped)
