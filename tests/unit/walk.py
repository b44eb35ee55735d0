"""A random walk of one host: what people, the registry, models and the machine do to it, step by step, from a seed."""

import contextlib
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from reconciler.core.operators.requests import Request
from reconciler.core.operators.verbs import Verb
from reconciler.core.planner.actions import Action
from reconciler.core.state.status import State
from reconciler.core.units import names
from reconciler.files.atomic import replace_file
from reconciler.ports.systemd import SystemdError
from reconciler.settings.model import DeploySettings, Settings
from tests.fakes.systemd import Behaviour
from tests.unit.conftest import OPEN, World

NAMES = ("a", "b", "b-c")
SOAK = 100
HOSTS: dict[str, dict[str, object]] = {
    "plain": {"soak": 0, "keep_releases": 0, "removal_grace": 0},
    "soak": {"soak": SOAK, "keep_releases": 1, "removal_grace": 300},
    "recreate": {"soak": SOAK, "keep_releases": 1, "removal_grace": 0, "strategy": "recreate"},
    "replicas": {"soak": SOAK, "keep_releases": 2, "removal_grace": 0, "replicas": 3},
    "idle": {"soak": SOAK, "keep_releases": 1, "removal_grace": 0, "idle_timeout": 60},
}
SERVERS = {
    "does not start": Behaviour(works=False, status_text="cannot load the model: KeyError: 'x'; mend load_context"),
    "meets a full disk": Behaviour(works=False, result="resources"),
    "says that it is deaf": Behaviour(works=False, status_text="cannot listen: 0 of 2 sockets"),
    "says that the host failed it": Behaviour(works=False, exit_status=226),
    "does not obey": Behaviour(obeys=False),
    "has every deadline put off": Behaviour(obeys=False, lingers=True),
}
FILES = ("ledger.json", "pins", "history.json", "snapshot.json", "rendered", "etc")
STEPS = ("fetch", "build", "verify")
UNDER_TRAFFIC = ("crashes", "answers with errors")
BAD = (*SERVERS, *UNDER_TRAFFIC, *(f"fails to {step}" for step in STEPS))
ITS_OWN_FAULT = ("does not start", *UNDER_TRAFFIC)
"""For these a release is rejected; from the other troubles it recovers."""
MANY_PASSES = 60


class KilledError(BaseException):
    """The reconciler died here."""


@dataclass
class Walk:
    """One host and what happened to it; the same seed makes the same walk."""

    seed: int
    directory: Path
    before_pass: Callable[["Walk"], None]
    after_action: Callable[["Walk", Action], None]
    after_pass: Callable[["Walk"], None]
    selected: dict[str, int] = field(default_factory=dict)
    """The registry's last word."""
    story: list[str] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """Files, and directories, of which the disk takes nothing."""
    bad: dict[tuple[str, int], str] = field(default_factory=dict)
    """What is wrong with a version of a deployment."""

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)  # noqa: S311 - nothing here is secret
        self.kind = self.random.choice(sorted(HOSTS))
        self.world = World(self.directory)
        self._works = self.world.systemd.behave
        self.world.systemd.behave = self._behave
        self._asked = 0
        self._dies_in: int | None = None
        self._configure(HOSTS[self.kind])
        self._select()

    def step(self) -> None:
        """Let one thing happen, and then the reconciler run for a while, or not."""
        happening, weight = zip(*self._happenings(), strict=True)
        self.random.choices(happening, weight)[0]()
        self._misbehave()
        self.passes(self.random.choice((0, 1, 1, 2)))

    def passes(self, count: int) -> bool:
        """Run passes, mostly with jobs ending in between; True when one of them found nothing to do."""
        for _ in range(count):
            self.before_pass(self)
            try:
                acted = self.world.reconciler.one_pass()
            except KilledError:
                self.story.append("the reconciler dies")
                self._new_reconciler()
                return False
            self.after_pass(self)
            if self.random.random() < 0.8:
                self.world.systemd.settle()
                self._misbehave()
            if not acted:
                return True
        return False

    def calm_down(self) -> None:
        """Have nothing more happen, what is nobody's fault mended, people resume everything, and time go on."""
        self.story.append("calm")
        self._dies_in = None
        for _ in range(5):
            self._mend()
            self._converge()
            for name, one in self.world.status().items():
                if one.state is State.SUSPENDED:
                    self._ask(Verb.RESUME, name)
                elif one.state is State.STALLED:
                    self._ask(Verb.RETRY, name)
                elif one.state is State.HELD:
                    self._ask(Verb.CONFIRM_PRUNE, None)
            self.world.now += 1000
        self._converge()

    def _happenings(self) -> Iterator[tuple[Callable[[], None], int]]:
        yield self._promote, 6
        yield self._pre_empt, 3
        yield self._demote, 2
        yield self._change_mind, 2
        yield self._spoil, 4
        yield self._refuse, 2
        yield self._mend, 1
        yield self._end_server, 2
        yield self._drift, 3
        yield self._person, 4
        yield self._scale, 1
        yield self._request, 2
        yield self._reboot, 1
        yield self._kill, 3
        yield self._wait, 5
        yield self._idle, 5

    def _promote(self) -> None:
        name = self.random.choice(NAMES)
        self.selected[name] = self.random.randint(1, 4)
        self._select()

    def _pre_empt(self) -> None:
        self._promote()
        self.passes(self.random.randint(1, 8))
        self._promote()

    def _demote(self) -> None:
        if self.selected:
            del self.selected[self.random.choice(sorted(self.selected))]
            self._select()

    def _change_mind(self) -> None:
        if self.selected:
            name = self.random.choice(sorted(self.selected))
            version = self.selected.pop(name)
            self._select()
            self.passes(self.random.choice((0, 0, 1)))
            self.selected[name] = version
            self._select()

    def _spoil(self) -> None:
        name = self.random.choice(NAMES)
        version = self.random.choice((self.random.randint(1, 4), self.selected.get(name, 1)))
        self.bad[name, version] = self.random.choice(BAD)
        self.story.append(f"version {version} of {name} {self.bad[name, version]}")

    def _refuse(self) -> None:
        """The disk takes no more of some files, or all."""
        self.refused = {one for one in FILES if self.random.random() < 0.5}
        self.story.append(f"the disk refuses {sorted(self.refused)}")

    def refuses(self, path: Path) -> bool:
        """Whether the disk refuses a file now."""
        return any(part in self.refused for part in path.relative_to(self.directory).parts)

    def _mend(self) -> None:
        """Mend what is no fault of a version, and what proved itself before it was spoilt."""
        self.story.append("mend")
        self.refused = set()
        records = self.world.reconciler.ledger.ledger
        proven = {
            (name, release.version)
            for name in NAMES
            for release in (records.record(name).good, *records.record(name).before)
            if release
        }
        self.bad = {one: how for one, how in self.bad.items() if how in ITS_OWN_FAULT and one not in proven}

    def _end_server(self) -> None:
        if running := self.running():
            unit = self.random.choice(running)
            how = self.random.choice(("crashes", "fails", "is stopped", "reloads"))
            self.story.append(f"{unit} {how}")
            if how == "crashes":
                self.world.systemd.crash(unit)
            elif how == "reloads":
                self.world.systemd.reload_by_itself(unit)
            elif how == "fails":
                state = self.world.systemd.units()[unit]
                self.world.systemd.put(replace(state, active="failed", result="watchdog", ended=self.world.now))
            else:
                self.world.systemd.stop(unit)

    def _drift(self) -> None:
        if not (files := sorted(path for path in self.world.etc.glob("*.*") if path.is_file())):
            return
        path, how = self.random.choice(files), self.random.choice(("edit", "delete", "drop-in", "stop", "disable"))
        self.story.append(f"{how} {path.name}")
        match how:
            case "edit":
                path.write_text(path.read_text() + "# edited\n")
            case "delete":
                path.unlink()
            case "drop-in":
                (self.world.etc / f"{path.name}.d").mkdir(exist_ok=True)
            case "stop":
                self.world.systemd.stop(path.name)
            case _:
                self.world.systemd.disable(path.name)

    def _person(self) -> None:
        verb = self.random.choice(tuple(Verb))
        self._ask(verb, None if verb.is_about_host else self.random.choice(NAMES))

    def _ask(self, verb: Verb, name: str | None) -> None:
        self._asked += 1
        until = datetime.fromtimestamp(self.world.now + 300, UTC) if self.random.random() < 0.5 else None
        version = self.random.choice((None, 1, 2, 3, 4)) if verb is Verb.ROLLBACK else None
        request = Request(
            schema=1,
            verb=verb,
            name=name,
            by="ana",
            until=until if verb is Verb.SUSPEND else None,
            version=version,
            # Of no such plan: these hosts make changes unasked.
            plan="0" * 12 if verb is Verb.APPLY else None,
        )
        self.story.append(f"ana asks: {verb} {name or ''} {version or ''}".strip())
        directory = self.world.state / "requests"
        directory.mkdir(exist_ok=True)
        replace_file(directory / f"{self._asked:06}.json", request.model_dump_json(by_alias=True).encode(), 0o600)

    def _scale(self) -> None:
        if self.kind != "idle":
            self._configure({**HOSTS[self.kind], "replicas": self.random.randint(1, 3)})

    def _request(self) -> None:
        """A client connects: a socket whose service does not run starts it."""
        for name in NAMES:
            service = self.world.systemd.service_of(names.socket_unit(name))
            if service and names.socket_unit(name) in self.world.systemd.units():
                self.story.append(f"a client asks {name}")
                with contextlib.suppress(SystemdError):  # somebody deleted it
                    self.world.systemd.start(service)

    def _reboot(self) -> None:
        self.story.append("reboot")
        self.world.systemd.reboot()
        self._new_reconciler()

    def _kill(self) -> None:
        self._dies_in = self.random.randint(1, 8)
        self.story.append(f"{self._dies_in} more actions to live")

    def _wait(self) -> None:
        seconds = self.random.choice((1, 30, SOAK + 1, 301, 1000))
        self.story.append(f"{seconds} s go by")
        self.world.now += seconds

    def _idle(self) -> None:
        self.story.append("nothing happens")
        self.passes(12)

    def running(self) -> list[str]:
        """The servers that run, accepting or not."""
        units = self.world.systemd.units()
        return sorted(unit for unit, one in units.items() if names.parse_server(unit) and one.active == "active")

    def _misbehave(self) -> None:
        """Have versions that are bad under traffic show it while they are young."""
        if not set(UNDER_TRAFFIC) & set(self.bad.values()):
            return
        units = self.world.systemd.units()
        for unit in self.running():
            state, parsed = units[unit], names.parse_server(unit)
            how = self.bad.get((parsed.name, parsed.release.version)) if parsed else None
            if how not in UNDER_TRAFFIC or state.stands_by or self.world.now > state.since + SOAK:
                continue
            if how == "crashes" and not state.restarts:
                self.world.systemd.crash(unit)
            elif how == "answers with errors":
                self.world.systemd.serve(unit, 100, 50)

    def _converge(self) -> None:
        quiet = 0
        for _ in range(MANY_PASSES):
            quiet = quiet + 1 if self.passes(1) else 0
            self.world.systemd.settle()
            if quiet == 2:
                return
        raise AssertionError(f"still acting after {MANY_PASSES} passes")

    def _configure(self, values: dict[str, object]) -> None:
        self.story.append(f"settings: {values}")
        self.world.settings = Settings(policy=OPEN, deploy=DeploySettings(**values))  # type: ignore[arg-type]  # validated by pydantic
        self._new_reconciler()

    def _select(self) -> None:
        self.story.append(f"the registry selects {self.selected}")
        self.world.select(**self.selected)

    def _new_reconciler(self) -> None:
        def after(_number: int, action: Action) -> None:
            self.story.append(f"    {action}")
            self.after_action(self, action)
            if self._dies_in is not None:
                self._dies_in -= 1
                if self._dies_in <= 0:
                    self._dies_in = None
                    raise KilledError

        self.world.new_reconciler().runner.after_action = after

    def _behave(self, unit: str) -> Behaviour:
        if server := names.parse_server(unit):
            return SERVERS.get(self.bad.get((server.name, server.release.version), ""), Behaviour())
        step = names.parse_step(unit)
        kind, who = (step[0], step[1:]) if step else ("build", None)
        environment = names.parse_build(unit)
        failing = {one for one, how in self.bad.items() if how == f"fails to {kind}"}
        if who in failing or (environment and int(environment, 16) in {version for _, version in failing}):
            return Behaviour(works=False, status_text=f"cannot {kind}: it is a walk; wait")
        return self._works(unit)
