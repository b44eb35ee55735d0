"""`./dev install` and `./dev uninstall` on a real host."""

import re
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from tests.host import CHECKOUT_INSIDE, Host, Layers
from tests.host.host import CHECKOUT
from tests.host.image import prepared_environments

pytestmark = pytest.mark.system

DEV = f"{CHECKOUT_INSIDE}/dev"
SETTINGS = "/etc/mlflow-reconciler/config.toml"
SHARE = "/usr/local/share"
MAN_PAGES = CHECKOUT / "docs/man"
COMPLETION = CHECKOUT / "systemd/completion"
PLACES = {
    "reconciler.bash": "bash-completion/completions/reconciler",
    "_reconciler": "zsh/site-functions/_reconciler",
    "reconciler.fish": "fish/vendor_completions.d/reconciler.fish",
}
# Everything that an installation could leave: files with what they hold, users, units, control groups. /etc/passwd- and
# the like are the backups of the tools that write the users; the catalog's database is rebuilt from its sources.
LISTING = """
    find /etc /usr/local /opt /home /root /run /var -xdev \\
        \\( -path /var/tmp -o -path /run/systemd -o -path /run/log -o -path /run/udev -o -path '/etc/*-' \\
           -o -path /var/log -o -path /var/lib/systemd -o -path /run/mount -o -path '/etc/.pwd.lock' \\
           -o -path /run/user \\) -prune -o -printf '%p %M %u:%g %l\\n' | sort
    getent passwd; getent group
    systemctl list-unit-files --no-legend --no-pager
    systemctl list-units --all --no-legend --no-pager --plain 'm*' | cut -d' ' -f1
    find /sys/fs/cgroup -name 'm*.slice'
"""
OWNED_UNITS = {
    "model-left.socket": (
        "[Unit]\nDescription=left over\n[X-Mlflow-Reconciler]\nDigest=0\n[Socket]\nListenStream=/run/models/left.sock\n"
        "RemoveOnStop=yes\nService=model-left@1.00000000.service\n[Install]\nWantedBy=sockets.target\n"
    ),
    "model-left@1.00000000.service": (
        "[X-Mlflow-Reconciler]\nDigest=0\n[Service]\nSlice=model.slice\nExecStart=/bin/sleep infinity\n"
        "[Install]\nWantedBy=multi-user.target\n"
    ),
    "mlflow-fetch@left:1.service": (
        "[X-Mlflow-Reconciler]\nDigest=0\n[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"
        "User=mlflow-deploy\nStateDirectory=mlflow-deploy/model_deploys/left/releases/1\nSlice=mlflow.slice\n"
    ),
}


@pytest.mark.exhaustive
def test_uninstall_leaves_nothing_even_of_running_deployments(prepared_host: Host) -> None:
    """Listings of files, users and units before install and after uninstall differ in nothing."""
    host = prepared_host
    everything = host.output(LISTING, timeout=300).splitlines()
    before = [line for line in everything if not line.startswith("/opt/mlflow-reconciler")]
    host.run([DEV, "install"], timeout=600)
    for name, text in OWNED_UNITS.items():
        host.write(f"/etc/systemd/system/{name}", text)
    host.run(["systemctl", "daemon-reload"])
    host.run(["systemctl", "enable", "--now", *list(OWNED_UNITS)[:2]])
    host.run(["systemctl", "start", list(OWNED_UNITS)[2]])
    host.write("/etc/systemd/system/model-somebodys.service", "[Service]\nExecStart=/bin/sleep infinity\n")
    host.run(["systemctl", "start", "model-somebodys.service"])
    host.run([DEV, "uninstall"], timeout=120)
    assert host.output("systemctl is-active model-somebodys.service") == "active"
    host.run("systemctl stop model-somebodys.service; rm /etc/systemd/system/model-somebodys.service")
    host.run(["systemctl", "daemon-reload"])
    assert host.output(LISTING, timeout=300).splitlines() == before


def test_uninstall_keeps_the_settings_when_told_to(installed: Host) -> None:
    """--keep-settings leaves /etc/mlflow-reconciler, edits included. Man pages and completion are among what goes."""
    installed.run(f"echo '# mine' >>{SETTINGS}")
    there = {f"{SHARE}/man/man{page.suffix[1:]}/{page.name}": page for page in MAN_PAGES.iterdir()}
    there |= {f"{SHARE}/{place}": COMPLETION / name for name, place in PLACES.items()}
    assert {place: installed.read(place) for place in there} == {place: one.read_text() for place, one in there.items()}
    installed.run([DEV, "uninstall", "--keep-settings"], timeout=120)
    assert installed.run(["ls", *there], check=False).stdout == ""
    assert installed.read(SETTINGS).endswith("# mine\n")
    assert installed.run("getent passwd mlflow-deploy", check=False).returncode == 2


def test_uninstall_asks_a_person_before_models_end(installed: Host) -> None:
    """It was one word on the wrong terminal. A program is not asked, and a second run has nothing left to do."""
    mark = "[X-Mlflow-Reconciler]\\nDigest=0\\n[Slice]\\n"
    installed.run(f"printf '{mark}' >'/etc/systemd/system/model-a\\x2db.slice'")
    asked = ["script", "--quiet", "--return", "--command", f"{DEV} uninstall", "/dev/null"]
    answered = installed.run(asked, stdin="n\n", check=False)
    assert answered.returncode == 1
    assert "this ends 1 deployments and removes their files: a-b. Go on? [y/N]" in answered.stdout
    assert "not uninstalled: nothing was changed" in answered.stdout
    assert installed.output("systemctl is-enabled mlflow-reconciler") == "enabled"
    for _ in range(2):
        installed.run([DEV, "uninstall"], timeout=120)
    assert installed.run("test -e /opt/mlflow-reconciler", check=False).returncode == 1


def test_installing_again_changes_nothing(installed: Host) -> None:
    """The second run finds everything in place, and does not restart what runs."""
    show = "systemctl show -p MainPID,NRestarts mlflow-reconciler; readlink -f /opt/mlflow-reconciler/venv"
    installed.run([DEV, "install"], timeout=120)
    before = installed.output(show)
    said = installed.run([DEV, "install"], timeout=120).stdout
    assert installed.output(show) == before
    assert "is here already" in said


def test_what_the_server_needs_is_there_as_wheels(installed: Host) -> None:
    """Every version of the server's lock, where a build looks for them: a model of wheels needs no index."""
    look = "from reconciler.steps.build import BuildOrder; print(BuildOrder.server_wheels)"
    directory = installed.output(["/opt/mlflow-reconciler/venv/bin/python", "-I", "-c", look])
    names = installed.output(["ls", directory]).split()
    lock = (CHECKOUT / "modelserver/requirements.lock").read_text()
    needed = re.findall(r"^([a-z0-9-]+)==([0-9.]+)", lock, re.MULTILINE)
    assert len(needed) > 5
    assert {tuple(name.split("-")[:2]) for name in names} == {(name.replace("-", "_"), one) for name, one in needed}


def test_an_edited_config_is_never_overwritten(installed: Host) -> None:
    """The shipped one is put beside it, and goes away when the two agree again."""
    shipped = installed.read(SETTINGS)
    installed.write(SETTINGS, shipped.replace("poll_interval = 10", "poll_interval = 11"))
    assert "config.toml.new" in installed.run([DEV, "install", "--no-start"], timeout=120).stdout
    assert "poll_interval = 11" in installed.read(SETTINGS)
    assert installed.read(f"{SETTINGS}.new") == shipped
    installed.write(SETTINGS, shipped)
    installed.run([DEV, "install", "--no-start"], timeout=120)
    assert installed.run(f"test -e {SETTINGS}.new", check=False).returncode == 1


@pytest.mark.parametrize(
    "tool", ["build --quiet", "compileall", "mv -T", "systemd-sysusers", "systemctl daemon-reload"]
)
def test_an_install_that_is_killed_leaves_the_former_one_in_use_and_is_finished_by_the_next(
    installed: Host, tool: str
) -> None:
    """Killed at whatever step: the command still answers, and running install again completes it."""
    # A checkout with one line changed is another version.
    installed.run(f"mkdir /root/checkout; cd {CHECKOUT_INSIDE}; tar -c --exclude='./.*' . | tar -x -C /root/checkout")
    installed.run("echo '# another version' >>/root/checkout/reconciler/__init__.py")
    current = installed.output("readlink /opt/mlflow-reconciler/current")
    killed = installed.run(["bash", "-c", KILL_AT, "kill-at", tool], check=False, timeout=300)
    assert killed.returncode == -signal.SIGKILL, killed.stdout + killed.stderr
    installed.run(["reconciler", "--help"])
    if tool in ("build --quiet", "compileall", "mv -T"):
        assert installed.output("readlink /opt/mlflow-reconciler/current") == current
    installed.run("sed -i 2d /root/checkout/dev; /root/checkout/dev install --no-start", timeout=300)
    new = installed.output("readlink /opt/mlflow-reconciler/current")
    assert new != current
    assert "another version" in installed.read(f"/opt/mlflow-reconciler/{new}/lib/reconciler/__init__.py")
    installed.run(["reconciler", "--help"])


# Of a host that was left so by an install under another umask, or by somebody's hand.
FORMER = {"027": "0750", "077": "0700", "000": "0777", "0177": "0600"}
OPEN_OR_FOREIGN = r"""
    find /opt/mlflow-reconciler /etc/mlflow-reconciler /usr/local/lib/systemd /usr/local/bin/reconciler \
        /etc/sysusers.d/mlflow-reconciler.conf /etc/tmpfiles.d/mlflow-reconciler.conf \
        /run/mlflow-reconciler.install.lock \( ! -user root -o ! -type l -perm /022 \) -printf '%M %u %p\n'
    find /var/cache/mlflow-reconciler -maxdepth 0 ! -perm 0700 -printf '%M %u %p\n'
"""
HIDDEN = r"find /opt/mlflow-reconciler ! -type l \( ! -perm -444 -o -perm /111 ! -perm -111 \) -printf '%M %p\n'"


def test_the_callers_umask_opens_nothing_and_hides_nothing(prepared_host: Host) -> None:
    """Nor does what an install under it left before: services run, others may read and run, root alone may write."""
    host = prepared_host
    for umask, mode in FORMER.items():
        host.run(
            "cd /opt/mlflow-reconciler; rm -rf versions current venv bin; mkdir versions; "
            f"chmod {mode} . versions environments"
        )
        host.run(f"umask {umask}; {DEV} install", timeout=600)
        assert (host.output(OPEN_OR_FOREIGN), host.output(HIDDEN)) == ("", ""), umask
        for service in ("mlflow-registry-agent", "mlflow-reconciler"):
            assert host.output(["systemctl", "is-active", service]) == "active", umask
        for program in ("release-step", "modelserver /opt/mlflow-reconciler/venv"):
            host.run(f"/opt/mlflow-reconciler/bin/{program} --help", user="nobody")


def test_what_others_could_have_changed_is_made_anew(installed: Host) -> None:
    """A program, its bytecode, a name that leads elsewhere, a cache: to close them now would not be enough."""
    installed.run("useradd --create-home eve")
    here = "/opt/mlflow-reconciler"
    installed.run(f"{DEV} install --no-start", timeout=300)
    bytecode = f"{here}/current/lib/reconciler/__pycache__"
    for damage in (
        f"chmod o+w {bytecode}; touch {bytecode}/evil.pyc",
        f"chown eve {here}/current/bin/reconciler",
        f"chmod 0777 {here}; rm {here}/bin; install -d -o eve {here}/bin",
        f"mv $(readlink -f {here}/current) /home/eve/version; chown -R eve /home/eve/version; "
        f"ln -s /home/eve/version {here}/$(readlink {here}/current); chown -h eve {here}/versions/*",
        "chmod 0777 /var/cache/mlflow-reconciler; touch /var/cache/mlflow-reconciler/evil",
    ):
        installed.run(damage)
        installed.run([DEV, "install", "--no-start"], timeout=300)
        assert installed.output(OPEN_OR_FOREIGN) == "", damage
        assert installed.output(f"find {here} /var/cache/mlflow-reconciler -name '*evil*'") == "", damage
        installed.run(["reconciler", "--help"])


@pytest.mark.parametrize("left", ["/var/cache/mlflow-deploy", "/var/lib/mlflow-reconciler/requests"])
def test_what_a_former_version_left_is_removed(installed: Host, left: str) -> None:
    """A cache that every build could write to, and requests that nobody answers any more."""
    installed.run(f"install -d -o mlflow-deploy {left} {left}/more; touch {left}/more/evil")
    installed.run([DEV, "install", "--no-start"], timeout=300)
    assert installed.run(["test", "-e", left], check=False).returncode == 1


def test_a_lock_that_somebody_holds_does_not_hold_up_an_install(installed: Host) -> None:
    """Neither those of today, which others cannot open, nor what a former version left open to all."""
    installed.run(["useradd", "ada"])
    locks = ("/run/mlflow-reconciler.install.lock", "/var/cache/mlflow-reconciler/.lock")
    installed.run(f"chmod 0755 /var/cache/mlflow-reconciler; rm -f {' '.join(locks)}")
    for lock in locks:
        installed.run(["install", "-m", "0666", "/dev/null", lock])
        hold = f"exec 3<{lock}; flock --exclusive 3; exec sleep infinity"
        installed.run(["systemd-run", "--quiet", "--uid=ada", "bash", "-ec", hold])
        installed.wait_for(partial(is_held, installed, lock), 30, f"{lock} to be held")
    installed.run("rm /opt/mlflow-reconciler/current/complete")
    installed.run([DEV, "install", "--no-start"], timeout=120)
    for lock in locks:
        refused = installed.run(["flock", "--nonblock", lock, "true"], user="ada", check=False)
        assert "Permission denied" in refused.stderr, lock


STORES = """
from reconciler.adapters.artifact_store import ArtifactStore
store = ArtifactStore("http://127.0.0.1:9", 1, 0)
for address in ("gs://m/x", "wasbs://m@a.blob.core.windows.net/x", "abfss://m@a.dfs.core.windows.net/x"):
    try:
        print(type(store.open(address)).__name__)
    except ImportError as missing:
        print(missing.name)
"""


@pytest.mark.by_hand
def test_extras_bring_their_libraries_and_an_upgrade_keeps_them(installed: Host) -> None:
    """Where the library was missing, the fetch would now ask the store; `--with` adds, `none` takes all away again."""
    missing, there = ["google.cloud", "azure", "azure"], ["MlflowArtifacts"] * 3
    for arguments, found in (
        ((), missing),
        (("--with", "gs"), [there[0], *missing[1:]]),
        (("--with", "azure"), there),
        ((), there),
        (("--with", "none"), missing),
    ):
        said = installed.run([DEV, "install", "--no-start", *arguments], timeout=600).stdout
        python = ["/opt/mlflow-reconciler/venv/bin/python", "-I", "-c", STORES]
        assert installed.output(python, timeout=120).splitlines() == found, (arguments, said)
        assert installed.output(OPEN_OR_FOREIGN) == ""


def is_held(host: Host, lock: str) -> bool:
    """Whether somebody has it."""
    return host.run(["flock", "--nonblock", lock, "true"], check=False).returncode == 1


# Runs the install with bash's debug trap killing it before the first command that contains the words given.
KILL_AT = r"""
    sed -i "2i set -T; trap '[[ \$BASH_COMMAND != *\"$1\"* ]] || kill -KILL \$\$' DEBUG" /root/checkout/dev
    exec /root/checkout/dev install --no-start
"""


def test_static_units_are_valid(installed: Host) -> None:
    """systemd-analyze has nothing to say about them."""
    units = installed.output("cd /usr/local/lib/systemd/system && ls").split()
    for unit in units:
        said = installed.run(["systemd-analyze", "verify", unit.replace("@.", "@x.")], check=False)
        assert (said.returncode, said.stdout + said.stderr) == (0, "")


@pytest.mark.parametrize("arguments", [["--fast"], ["--no-start", "--fast"]])
def test_an_unknown_argument_is_refused(bare_host: Host, arguments: list[str]) -> None:
    """Nothing is installed on a misunderstanding."""
    refused = bare_host.run([DEV, "install", *arguments], check=False)
    assert refused.returncode == 1
    assert "cannot install: unknown argument '--fast'" in refused.stderr
    assert bare_host.run("test -e /opt/mlflow-reconciler", check=False).returncode == 1


def test_a_deploy_directory_is_removed_by_systemd_itself(installed: Host) -> None:
    """`systemctl clean` of mlflow-deploy-directory@NAME removes what release units made, and refuses to start."""
    top = "/var/lib/mlflow-deploy/model_deploys"
    installed.run(f"install -d -o mlflow-deploy {top}/x {top}/x/releases/1 {top}/y")
    installed.run(["systemctl", "clean", "--what=state", "mlflow-deploy-directory@x.service"])
    assert installed.output(f"ls {top}") == "y"
    assert installed.run("systemctl start mlflow-deploy-directory@y.service", check=False).returncode != 0


def test_only_root_installs(bare_host: Host) -> None:
    """An ordinary user is told what to do."""
    bare_host.run("useradd ana")
    refused = bare_host.run([DEV, "install"], user="ana", check=False)
    assert refused.returncode == 1
    assert "needs root; run it with sudo" in refused.stderr


@pytest.fixture
def installed(image: Layers) -> Iterator[Host]:
    """A host with the product installed whose settings are as shipped; no registry."""
    with Host("installed", base=image) as host:
        yield host


@pytest.fixture
def prepared_host() -> Iterator[Host]:
    """A host without the product, but with the packages of the lock where install expects them, to save their time."""
    with prepared_environments() as seed:
        host = Host("prepared", seed=seed)
    with host:
        yield host
