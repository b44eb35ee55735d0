"""Looks over what the product finds on its host: packages, users, directories, programs, files."""

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
)
NOBODY = "nobody"
INSTALL_AGAIN = "run ./dev install again"


@dataclass(frozen=True)
class Finding:
    """Something wrong, and what mends it."""

    what: str
    mend: str


def modules() -> Iterator[Finding]:
    """What Debian packages bring into the product's environment; without it hardly anything can be looked at."""
    for module, package in DEBIAN_PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            yield Finding(f"the Python module {module} is missing", f"apt-get install {package}")


def users(settings: Settings) -> Iterator[Finding]:
    """The users that sysusers makes, and the group that may open unix sockets."""
    for user in (paths.AGENT_USER, paths.DEPLOY_USER, paths.FILES_USER):
        if not exists(user):
            yield Finding(f"there is no user {user}", f"systemd-sysusers {SYSUSERS}")
    group = settings.deploy.socket_group
    try:
        grp.getgrnam(group)
    except KeyError:
        usual = group == DeploySettings.model_fields["socket_group"].default
        mend = f"systemd-sysusers {SYSUSERS}" if usual else f"groupadd --system {group}"
        yield Finding(f"there is no group {group} (deploy.socket_group)", mend)


def directories(_settings: Settings) -> Iterator[Finding]:
    """The directories that tmpfiles makes."""
    for name, (owner, group, mode) in DIRECTORIES.items():
        if not (exists(owner) and exists(group)):
            continue  # the missing user is a finding of its own
        wanted = f"it should be a directory of {owner}:{group} with mode {mode:04o}"
        mend = f"systemd-tmpfiles --create {TMPFILES}"
        try:
            about = os.lstat(name)
        except FileNotFoundError:
            yield Finding(f"{name} is missing; {wanted}", mend)
            continue
        has = about.st_uid, about.st_gid, stat.S_IMODE(about.st_mode)
        if not stat.S_ISDIR(about.st_mode):
            yield Finding(f"{name} is not a directory; {wanted}", f"rm {name} && {mend}")
        elif has != (pwd.getpwnam(owner).pw_uid, pwd.getpwnam(group).pw_gid, mode):
            yield Finding(f"{name} belongs to {has[0]}:{has[1]} with mode {has[2]:04o}; {wanted}", mend)


def programs(settings: Settings) -> Iterator[Finding]:
    """What units and steps run."""
    if settings.fetch.verify_command:
        program = settings.fetch.verify_command[0]
        if refused := why_not_roots(program):
            why, mend = refused
            yield Finding(f"the signature check {program} {why}", mend)
    launchers = (paths.SERVER_LAUNCHER, paths.STEP_LAUNCHER, paths.TEMP_LAUNCHER, paths.CHECKER)
    for program in (*launchers, f"{paths.PRODUCT_VENV}/bin/uv"):
        if not os.access(program, os.X_OK):
            yield Finding(f"{program} is missing or cannot be run", INSTALL_AGAIN)


def openings(settings: Settings) -> list[str]:
    """What the settings open beyond what a model gets by itself: nothing wrong, but somebody should know."""
    deploy, rules = settings.deploy, settings.policy
    usual = Parameters(network=deploy.network, devices=deploy.devices, cache=deploy.cache).opened
    opened = [f"every model has {usual} (deploy.network, deploy.devices, deploy.cache)"] if usual else []
    if not deploy.address.is_loopback or deploy.peers:
        speakers = ", ".join(deploy.peers) or "this host only"
        opened.append(f"deployments listen at {deploy.address} for {speakers} (deploy.address, deploy.peers)")
    if int(deploy.socket_mode, 8) & 0o002:
        opened.append("everybody on this host may open the unix sockets (deploy.socket_mode)")
    by_tag = {"network": rules.networks, "devices": rules.devices, "cache": ("a directory to write to",)}
    opened += [
        f"a tag deploy.{key} may open to a model: {' '.join(what)} (policy.tags)"
        for key, what in by_tag.items()
        if key in rules.tags and what
    ]
    return opened


def files_of_settings(files: tuple[Path, ...]) -> Iterator[Finding]:
    """The agent, which is not root, reads the settings too."""
    if not exists(paths.AGENT_USER) or not files:
        return
    directory = files[0].parent
    for path in (directory, directory / "config.d", *files):
        if path.exists() and not may(paths.AGENT_USER, "-r", path):
            yield Finding(f"{path} cannot be read by {paths.AGENT_USER}", f"chmod a+rX {path}")
            return  # what is below a directory cannot be read either


def credentials(_settings: Settings) -> Iterator[Finding]:
    """systemd hands them out as root, so nobody else needs to read them."""
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


def may(user: str, what: str, path: Path) -> bool:
    """Ask the kernel, as that user (who must exist): modes of the path, of its parents and access lists all count."""
    about = pwd.getpwnam(user)
    command = ["test", what, str(path)]
    return (
        subprocess.run(  # noqa: S603 - fixed words
            command, user=about.pw_uid, group=about.pw_gid, extra_groups=[], timeout=30, check=False
        ).returncode
        == 0
    )
