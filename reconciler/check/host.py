"""Looks over what the product needs of its host: packages, users, directories, programs, files."""

import grp
import importlib.util
import os
import pwd
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from reconciler.core.state.release import Parameters
from reconciler.core.units import paths
from reconciler.settings.model import DeploySettings, Settings
from reconciler.steps.root_owned import why_not_roots

SYSUSERS = "/etc/sysusers.d/mlflow-reconciler.conf"
TMPFILES = "/etc/tmpfiles.d/mlflow-reconciler.conf"
DEBIAN_PACKAGES = {"gi": "python3-gi", "systemd": "python3-systemd"}
DIRECTORIES = {
    paths.DEPLOY_HOME: ("root", paths.DEPLOY_USER, 0o750),
    f"{paths.DEPLOY_HOME}/model_deploys": ("root", "root", 0o755),
    f"{paths.DEPLOY_HOME}/environments": ("root", "root", 0o755),
    "/run/models": ("root", "root", 0o755),
    paths.SERVER_TEMP: ("root", "root", 0o700),
    "/run/mlflow-registry-agent": (paths.AGENT_USER, paths.AGENT_USER, 0o755),
}
CREDENTIAL_STORES = ("/etc/credstore", "/run/credstore", "/usr/local/lib/credstore", "/usr/lib/credstore")
CREDENTIALS = (
    *("registry.username", "registry.password", "registry.token", "registry.client-certificate"),
    *("artifacts.aws", "artifacts.gcs", "index.username", "index.password"),
    *("nats.username", "nats.password", "nats.token", "nats.nkey", "nats.creds", "nats.client-certificate"),
    *("recordings.aws", "audit.key"),
)
NOBODY = "nobody"
INSTALL_AGAIN = "run ./dev install again"


@dataclass(frozen=True)
class Finding:
    """One fault, and the command or the change that mends it."""

    what: str
    mend: str


def modules() -> Iterator[Finding]:
    """Find missing modules of Debian packages; without them hardly anything else can be looked at."""
    for module, package in DEBIAN_PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(f"the Python module {module} is missing", f"apt-get install {package}")


def users(settings: Settings) -> Iterator[Finding]:
    """Find missing users of the product, and a missing group for unix sockets."""
    for user in (paths.AGENT_USER, paths.DEPLOY_USER, paths.FILES_USER):
        if not exists(user):
            yield Finding(f"there is no user {user}", f"systemd-sysusers {SYSUSERS}")
    group = settings.deploy.socket_group
    try:
        grp.getgrnam(group)
    except KeyError:
        is_default = group == DeploySettings.model_fields["socket_group"].default
        mend = f"systemd-sysusers {SYSUSERS}" if is_default else f"groupadd --system {group}"
        yield Finding(f"there is no group {group} (deploy.socket_group)", mend)


def directories(_settings: Settings) -> Iterator[Finding]:
    """Find directories of tmpfiles that are missing, or have another owner or mode."""
    for name, (owner, group, mode) in DIRECTORIES.items():
        if not (exists(owner) and exists(group)):  # each user has a group of the same name
            continue  # the missing user is a finding of its own
        should = f"it should be a directory of {owner}:{group} with mode {mode:04o}"
        mend = f"systemd-tmpfiles --create {TMPFILES}"
        try:
            about = os.lstat(name)
        except FileNotFoundError:
            yield Finding(f"{name} is missing; {should}", mend)
            continue
        has = about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)
        if not stat.S_ISDIR(about.st_mode):
            yield Finding(f"{name} is not a directory; {should}", f"rm {name} && {mend}")
        elif has != (pwd.getpwnam(owner).pw_uid, pwd.getpwnam(group).pw_gid, mode):
            yield Finding(f"{name} belongs to {has[0]}:{has[1]} with mode {has[2]:04o}; {should}", mend)


def programs(settings: Settings) -> Iterator[Finding]:
    """Find programs of units and steps that are missing, or that others than root can change."""
    if settings.fetch.verify_command:
        program = settings.fetch.verify_command[0]
        fault = why_not_roots(program)
        if fault:
            why, mend = fault
            yield Finding(f"the signature check {program} {why}", mend)
    launchers = (paths.SERVER_LAUNCHER, paths.STEP_LAUNCHER, paths.TEMP_LAUNCHER, paths.BRIDGE_LAUNCHER, paths.CHECKER)
    for program in (*launchers, f"{paths.PRODUCT_VENV}/bin/uv"):
        if not os.access(program, os.X_OK):
            yield Finding(f"{program} is missing or cannot be run", INSTALL_AGAIN)


def openings(settings: Settings) -> list[str]:
    """List what the settings open beyond what a model gets by itself: no fault, but somebody should know."""
    return [*_opened_to_all(settings.deploy), *_opened_by_tags(settings)]


def _opened_to_all(deploy: DeploySettings) -> Iterator[str]:
    every_model = Parameters(network=deploy.network, devices=deploy.devices, cache=deploy.cache).opened
    if every_model:
        yield f"every model has {every_model} (deploy.network, deploy.devices, deploy.cache)"
    listens_to_others = not deploy.address.is_loopback or deploy.peers
    if listens_to_others:
        speakers = ", ".join(deploy.peers) or "this host only"
        yield f"deployments listen at {deploy.address} for {speakers} (deploy.address, deploy.peers)"
    others_may_open_sockets = int(deploy.socket_mode, 8) & 0o002
    if others_may_open_sockets:
        yield "everybody on this host may open the unix sockets (deploy.socket_mode)"


def _opened_by_tags(settings: Settings) -> Iterator[str]:
    rules = settings.policy
    # What every model may do, no tag opens.
    code = () if settings.deploy.executable_memory else ("code that it makes",)
    by_tag = {
        "network": rules.networks,
        "devices": rules.devices,
        "cache": ("a directory to write to",),
        "executable_memory": code,
    }
    for key, what in by_tag.items():
        is_allowed = key in rules.tags
        if is_allowed and what:
            yield f"a tag deploy.{key} may open to a model: {' '.join(what)} (policy.tags)"


def files_of_settings(files: tuple[Path, ...]) -> Iterator[Finding]:
    """Find settings that the agent, which is not root, cannot read."""
    if not exists(paths.AGENT_USER) or not files:
        return
    directory = files[0].parent
    # From the top: a closed directory closes everything below it.
    for path in (directory, directory / "config.d", *files):
        if path.exists() and not may(paths.AGENT_USER, "-r", path):
            yield Finding(f"{path} cannot be read by {paths.AGENT_USER}", f"chmod a+rX {path}")
            return  # what is below a directory cannot be read either


def credentials(_settings: Settings) -> Iterator[Finding]:
    """Find credentials that everybody can read: systemd hands them out as root, so nobody else needs to."""
    for store in CREDENTIAL_STORES:
        for name in CREDENTIALS:
            path = Path(store, name)
            if path.exists() and may(NOBODY, "-r", path):
                yield Finding(f"the credential {path} can be read by everybody", f"chmod 0600 {path}")


def exists(user: str) -> bool:
    """Whether there is such a user."""
    try:
        pwd.getpwnam(user)
    except KeyError:
        return False
    return True


def may(user: str, option: str, path: Path) -> bool:
    """Whether `test` with this option succeeds as that user, who must exist.

    The kernel decides: modes of the path and of its parents, and access lists, all count.
    """
    about = pwd.getpwnam(user)
    command = ["test", option, str(path)]
    done = subprocess.run(  # noqa: S603 - fixed words
        command, user=about.pw_uid, group=about.pw_gid, extra_groups=[], timeout=30, check=False
    )
    return done.returncode == 0
