"""Tells what is going on: the status file for programs, the journal for the story, one sentence for systemctl."""

import socket
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.core.planner.actions import Action
from reconciler.core.state.status import (
    MAX_STATUS_BYTES,
    DeploymentStatus,
    Outlook,
    RegistryStatus,
    State,
    Status,
    summary,
)
from reconciler.core.units import names
from reconciler.daemon import journal_messages
from reconciler.files.atomic import in_words, replace_file
from reconciler.files.untrusted import UnacceptableFileError, read_own_file

log = structlog.get_logger()


class StatusPublisher:
    """Remembers what was told, so that only changes are told again."""

    def __init__(self, path: Path, wall: Callable[[], float], agent_says: Callable[[], str]) -> None:
        """Publish in `path`; `agent_says` reads the agent's own word on why it cannot read the registry."""
        self._path = path
        self._wall = wall
        self.agent_says = agent_says
        self._told = _read_own(path)
        self._unpublished = ""
        """Why the last status is not there for others to read."""

    @property
    def sentence(self) -> str:
        """One human sentence about everything."""
        if self._told is None:
            return "nothing is known yet"
        registry = self._told.registry
        parts = [
            summary(self._told.deployments),
            "" if registry.reachable else registry.message,
            self._told.trouble,
            self._unpublished,
        ]
        return "; ".join(filter(None, parts))

    def tell(
        self, outlooks: tuple[Outlook, ...], registry: tuple[bool, datetime | None, str], trouble: str = ""
    ) -> None:
        """Publish where the deployments stand, and tell the journal what changed.

        `trouble` is what the reconciler itself cannot do. What cannot be published is tried again at the next call.
        """
        before = {one.name: one for one in self._told.deployments} if self._told else {}
        now = datetime.fromtimestamp(self._wall(), UTC)
        deployments = tuple(_with_since(outlook, before.get(outlook.name), now) for outlook in outlooks)
        reachable, read_at, message = registry
        status = Status(
            schema=1,
            host=socket.gethostname(),
            registry=RegistryStatus(reachable=reachable, read_at=read_at, message=message),
            trouble=trouble,
            deployments=deployments,
        )
        for one in deployments:
            _tell_change(before.get(one.name), one)
        for name in before.keys() - {one.name for one in deployments}:
            if before[name].state is not State.NOT_DEPLOYABLE:
                log.info(f"{name} is removed", MODEL=name, MESSAGE_ID=journal_messages.REMOVED)
        self._tell_registry(status.registry)
        if status != self._told or self._unpublished:
            self._publish(status)
        self._told = status

    def _publish(self, status: Status) -> None:
        try:
            replace_file(self._path, status.model_dump_json(by_alias=True, indent=1).encode() + b"\n", 0o644)
        except OSError as error:
            complaint = f"cannot publish the status: {in_words(error)}"
            if complaint != self._unpublished:
                log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                    f"{complaint}; it is tried again"
                )
            self._unpublished = complaint
        else:
            self._unpublished = ""

    def tell_request(self, name: str | None, said: str) -> None:
        """Put into a deployment's story what a person asked and was told."""
        log.info(f"asked by a person: {said}", MODEL=name)

    def tell_resumed(self, names_: Collection[str]) -> None:
        """Put into their stories that suspensions are over."""
        for name in names_:
            log.info(f"the suspension of {name} is over", MODEL=name)

    def tell_action(self, action: Action) -> None:
        """Put an action into its deployment's story."""
        server = names.parse_server(action.unit)
        log.info(
            str(action),
            MODEL=action.deployment or None,
            MODEL_VERSION=server.release.version if server else None,
            OBJECT_SYSTEMD_UNIT=action.unit or None,
        )

    def tell_delay(self, action: Action, error: Exception) -> None:
        """Put into a deployment's story that an action takes its time."""
        log.info(str(error), MODEL=action.deployment or None, OBJECT_SYSTEMD_UNIT=action.unit)

    def tell_failed_action(self, action: Action, error: Exception) -> None:
        """Put a failed action into its deployment's story."""
        log.error(
            f"cannot {action}: {in_words(error)}; it is tried again later",
            MODEL=action.deployment or None,
            OBJECT_SYSTEMD_UNIT=action.unit or None,
            MESSAGE_ID=journal_messages.ACTION_FAILED,
        )

    def _tell_registry(self, registry: RegistryStatus) -> None:
        before = self._told.registry if self._told else None
        if before is None or before.reachable != registry.reachable:
            if registry.reachable:
                log.info("the registry's snapshot is fresh")
            else:
                log.warning(
                    f"going by the last snapshot: {registry.message}", MESSAGE_ID=journal_messages.SNAPSHOT_REFUSED
                )


def _with_since(outlook: Outlook, before: DeploymentStatus | None, now: datetime) -> DeploymentStatus:
    same = before is not None and (before.state, before.desired_version, before.active_version) == (
        outlook.state,
        outlook.desired_version,
        outlook.active_version,
    )
    return DeploymentStatus(**outlook.model_dump(), since=before.since if before and same else now)


def _tell_change(before: DeploymentStatus | None, now: DeploymentStatus) -> None:
    if now.desired_version and (before is None or before.desired_version != now.desired_version):
        line = f"version {now.desired_version} of {now.name} is wanted here"
        log.info(line, MODEL=now.name, MODEL_VERSION=now.desired_version, MESSAGE_ID=journal_messages.WANTED)
    if before is None or journal_messages.sentence(before) != journal_messages.sentence(now):
        bad = now.state in (State.FAILED, State.DEGRADED, State.STALLED, State.NOT_DEPLOYABLE)
        (log.warning if bad else log.info)(
            journal_messages.sentence(now),
            MODEL=now.name,
            MODEL_VERSION=now.desired_version,
            MESSAGE_ID=journal_messages.message_id(now.state),
        )


def _read_own(path: Path) -> Status | None:
    """Go on from what was told before a restart; a file that is not there or not ours tells nothing."""
    try:
        return Status.model_validate_json(read_own_file(path, MAX_STATUS_BYTES))
    except (UnacceptableFileError, ValidationError):
        return None
