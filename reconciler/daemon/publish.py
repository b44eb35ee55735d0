"""Publishes what goes on: the status file for programs, lines in the journal, one sentence for systemctl."""

import socket
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from reconciler.core.planner.actions import Action
from reconciler.core.state.standing import AT_REST, standing
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

_NEEDS_ATTENTION = (State.FAILED, State.DEGRADED, State.STALLED, State.NOT_DEPLOYABLE)
"""States that are logged as warnings."""


class StatusPublisher:
    """Remembers the last status, so that the journal gets changes only."""

    def __init__(self, path: Path, wall: Callable[[], float], agent_says: Callable[[], str]) -> None:
        """Publish in `path`; `agent_says` reads the agent's status line, for the reason why a snapshot is not fresh."""
        self._path = path
        self._wall = wall
        self.agent_says = agent_says
        self._last = _read_last(path)
        self._unpublished = ""
        """Why the last status is not there for others to read."""

    @property
    def last(self) -> Status | None:
        """What was published last; None when nothing is known yet."""
        return self._last

    @property
    def sentence(self) -> str:
        """One sentence for people about everything."""
        if self._last is None:
            return "nothing is known yet"
        registry = self._last.registry
        parts = [
            summary(self._last.deployments),
            "" if registry.reachable else registry.message,
            self._last.trouble,
            self._unpublished,
        ]
        return "; ".join(filter(None, parts))

    def publish(
        self,
        outlooks: tuple[Outlook, ...],
        registry: RegistryStatus,
        trouble: str = "",
        tries: Mapping[str, tuple[int, datetime | None]] | None = None,
        *,
        is_current: bool = True,
    ) -> Status:
        """Publish where the deployments stand, log what changed, and return what was published.

        `trouble` is what the reconciler itself cannot do; `tries`: by deployment, failures in a row and the next try.
        What cannot be published is tried again at the next call.
        """
        before = {deployment.name: deployment for deployment in self._last.deployments} if self._last else {}
        now, tries = datetime.fromtimestamp(self._wall(), UTC), tries or {}
        deployments = tuple(
            standing(outlook, before.get(outlook.name), *tries.get(outlook.name, (0, None)), now)
            for outlook in outlooks
        )
        status = Status(
            schema=1,
            host=socket.gethostname(),
            registry=registry,
            trouble=trouble,
            is_current=is_current,
            deployments=deployments,
        )
        for deployment in deployments:
            _log_change(before.get(deployment.name), deployment)
        for name in before.keys() - {deployment.name for deployment in deployments}:
            _log_removal(before[name])
        self._log_registry(status.registry)
        # Most passes change nothing. A status that could not be written is tried again.
        if status != self._last or self._unpublished:
            self._write(status)
        self._last = status
        return status

    def _write(self, status: Status) -> None:
        try:
            replace_file(self._path, status.model_dump_json(by_alias=True, indent=1).encode() + b"\n", 0o644)
        except OSError as error:
            complaint = f"cannot publish the status: {in_words(error)}"
            if complaint != self._unpublished:  # a full disk stays full for many passes
                log.error(  # noqa: TRY400 - the sentence says all; a traceback would say less
                    f"{complaint}; it is tried again"
                )
            self._unpublished = complaint
        else:
            self._unpublished = ""

    def log_request(self, name: str | None, answer: str) -> None:
        """Log what a person asked and was answered."""
        log.info(f"asked by a person: {answer}", MODEL=name)

    def log_resumed(self, deployments: Collection[str]) -> None:
        """Log that the suspensions of these deployments are over."""
        for name in deployments:
            log.info(f"the suspension of {name} is over", MODEL=name)

    def log_action(self, action: Action, *, is_event: bool) -> None:
        """Log an action that worked, in the log of its deployment, its version and its unit.

        Most are for who looks for a fault of ours: what comes of them is an event, and has a line of its own.
        """
        server = names.parse_server(action.unit)
        write = log.info if is_event else log.debug
        write(
            str(action),
            MODEL=action.deployment or None,
            MODEL_VERSION=server.release.version if server else None,
            OBJECT_SYSTEMD_UNIT=action.unit or None,
        )

    def log_repair(self, name: str, repairs: Collection[str]) -> None:
        """Log what was undone of a deployment that neither the registry nor a person asked for."""
        log.info(f"{name} is repaired: {', '.join(repairs)}", MODEL=name, MESSAGE_ID=journal_messages.REPAIRED)

    def log_delay(self, action: Action, error: Exception) -> None:
        """Log that systemd still carries an action out; `error` says what it does."""
        log.info(str(error), MODEL=action.deployment or None, OBJECT_SYSTEMD_UNIT=action.unit)

    def log_failed_action(self, action: Action, error: Exception) -> None:
        """Log a failed action."""
        log.error(
            f"cannot {action}: {in_words(error)}; it is tried again later",
            MODEL=action.deployment or None,
            OBJECT_SYSTEMD_UNIT=action.unit or None,
            MESSAGE_ID=journal_messages.ACTION_FAILED,
        )

    def _log_registry(self, registry: RegistryStatus) -> None:
        is_unchanged = self._last is not None and self._last.registry.reachable == registry.reachable
        if is_unchanged:
            return
        # Only the change is logged: while the registry is away, its message changes with each failed poll.
        if registry.reachable:
            log.info("the registry's snapshot is fresh")
        else:
            log.warning(f"going by the last snapshot: {registry.message}", MESSAGE_ID=journal_messages.SNAPSHOT_REFUSED)


def _log_change(before: DeploymentStatus | None, now: DeploymentStatus) -> None:
    """Log a newly selected version, and the deployment's state if it reads differently than before."""
    if before is now:
        return
    is_newly_desired = before is None or before.desired_version != now.desired_version
    if now.desired_version and is_newly_desired:
        line = f"version {now.desired_version} of {now.name} is wanted here"
        log.info(line, MODEL=now.name, MODEL_VERSION=now.desired_version, MESSAGE_ID=journal_messages.DESIRED)
    # The sentence is compared and not the status: an address or a reason without words is no news for people.
    sentence = journal_messages.state_sentence(now)
    if before is not None and journal_messages.state_sentence(before) == sentence:
        return
    needs_attention = now.state in _NEEDS_ATTENTION or (now.state in AT_REST and now.serves_untried)
    write = log.warning if needs_attention else log.info
    write(
        sentence,
        MODEL=now.name,
        MODEL_VERSION=now.desired_version,
        MESSAGE_ID=journal_messages.message_id(now.state),
    )


def _log_removal(before: DeploymentStatus) -> None:
    had_nothing_here = before.state is State.NOT_DEPLOYABLE
    if not had_nothing_here:
        log.info(f"{before.name} is removed", MODEL=before.name, MESSAGE_ID=journal_messages.REMOVED)


def _read_last(path: Path) -> Status | None:
    """Read the status that was published before a restart; None when the file is missing, not ours, or not valid."""
    try:
        return Status.model_validate_json(read_own_file(path, MAX_STATUS_BYTES))
    except (UnacceptableFileError, ValidationError):
        return None
