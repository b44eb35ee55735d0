"""`reconciler check` on a real installation: each kind of damage is found, and what is printed as its mend mends it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.host import CHECKOUT_INSIDE, HostError
from tests.system.site import Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

AGENT, RECONCILER = "mlflow-registry-agent.service", "mlflow-reconciler.service"
PATIENCE = 90.0
HOME = "/var/lib/mlflow-deploy"
OWN_TEMPLATE = "/etc/mlflow-reconciler/templates/native/model.service.j2"
SHIPPED = "/opt/mlflow-reconciler"
SYSUSERS = "systemd-sysusers /etc/sysusers.d/mlflow-reconciler.conf"
TMPFILES = "systemd-tmpfiles --create /etc/tmpfiles.d/mlflow-reconciler.conf"
INSTALL_AGAIN = "run ./dev install again"


@dataclass(frozen=True)
class Damage:
    """What is done to the host, what is found, and the mend that is printed."""

    what: str
    found: str
    """A regular expression."""
    mend: str


@pytest.fixture(scope="module", autouse=True)
def quick(site: Site) -> None:
    """The status follows within a second."""
    site.host.write("/etc/mlflow-reconciler/config.d/70-quick.toml", "[reconcile]\ninterval = 1\n")


@pytest.fixture(autouse=True)
def sound(site: Site) -> Iterator[None]:
    """Every test leaves an installation in which nothing is wrong; systemd counts no starts of the test before."""
    yield
    site.host.run(["systemctl", "reset-failed", AGENT, RECONCILER])
    site.host.wait_for(lambda: findings(site) == [] or None, PATIENCE, "check to find nothing any more")


def findings(site: Site) -> list[tuple[str, str]]:
    """What is found, as (what, mend); the exit code agrees."""
    done = site.host.run(["reconciler", "check", "--json"], check=False)
    assert done.returncode in (0, 1), done.stderr
    document = json.loads(done.stdout)
    assert document["schema"] == 1
    found = [(one["what"], one["mend"]) for one in document["findings"]]
    assert done.returncode == (1 if found else 0)
    return found


def mend_of(site: Site, found: str) -> str:
    """Wait until there is the one finding that there should be; gives its mend."""

    last: list[tuple[str, str]] = []

    def matching() -> str | None:
        last[:] = findings(site)
        return last[0][1] if len(last) == 1 and re.search(found, last[0][0]) else None

    try:
        return site.host.wait_for(matching, PATIENCE, f"check to find {found!r}")
    except HostError:
        raise AssertionError(f"check finds {last}, and not just {found!r}") from None


def test_a_healthy_installation_has_no_finding(site: Site) -> None:
    """With a model that serves, in words and as data."""
    site.serve({"name": "healthy", "code": code()})
    assert findings(site) == []
    pythons, *notes, verdict = site.host.output(["reconciler", "check"]).splitlines()
    # A host within a container may have no control groups for them.
    assert all(re.match(r"note: deploy\.(memory_max|cpu_quota) has no effect", note) for note in notes)
    assert re.fullmatch(r"Python for models: (3\.\d+, )*3\.\d+ on this host", pythons)
    assert verdict == "nothing is wrong with this installation"


def closing(path: str) -> str:
    """The command that makes a path root's alone."""
    return f"chown root {path} && chmod go-w {path}"


DAMAGES = {
    "directory missing": Damage(
        f"rmdir {HOME}/environments",
        rf"{HOME}/environments is missing; it should be a directory of root:root",
        TMPFILES,
    ),
    "directory of somebody else": Damage(
        "chown root /run/mlflow-registry-agent", r"belongs to 0:\d+ with mode 0755; it should .* mlflow-agent", TMPFILES
    ),
    "directory of another group": Damage(
        f"chgrp root {HOME}", rf"{HOME} belongs to 0:0 .*a directory of root:mlflow-deploy with mode 0750", TMPFILES
    ),
    "directory open to everybody": Damage(
        f"chmod 0777 {HOME}/model_deploys", rf"{HOME}/model_deploys belongs to 0:0 with mode 0777; it should", TMPFILES
    ),
    "link instead of a directory": Damage(
        f"rmdir {HOME}/environments && ln -s /root {HOME}/environments",
        rf"{HOME}/environments is not a directory",
        f"rm {HOME}/environments && {TMPFILES}",
    ),
    "settings hidden from the agent": Damage(
        "chmod 0600 /etc/mlflow-reconciler/config.toml",
        r"/etc/mlflow-reconciler/config\.toml cannot be read by mlflow-agent",
        "chmod a+rX /etc/mlflow-reconciler/config.toml",
    ),
    "directory of settings hidden from the agent": Damage(
        "chmod 0700 /etc/mlflow-reconciler",
        r"/etc/mlflow-reconciler cannot be read by mlflow-agent",
        "chmod a+rX /etc/mlflow-reconciler",
    ),
    "credential shown to everybody": Damage(
        "install -D -m 0644 /dev/null /etc/credstore/index.password && chmod 0755 /etc/credstore",
        r"the credential /etc/credstore/index\.password can be read by everybody",
        "chmod 0600 /etc/credstore/index.password",
    ),
    "credential that others can exchange": Damage(
        "install -D -m 0602 /dev/null /etc/credstore/index.password && chmod 0755 /etc/credstore",
        r"^/etc/credstore/index\.password can be changed by others than root$",
        closing("/etc/credstore/index.password"),
    ),
    "settings that others can change": Damage(
        "chmod 0664 /etc/mlflow-reconciler/config.toml",
        r"^/etc/mlflow-reconciler/config\.toml can be changed by others than root$",
        closing("/etc/mlflow-reconciler/config.toml"),
    ),
    "templates that others can add": Damage(
        "chmod 1777 /etc/mlflow-reconciler/templates",
        r"^/etc/mlflow-reconciler/templates can be changed by others than root$",
        closing("/etc/mlflow-reconciler/templates"),
    ),
    "unit of somebody else": Damage(
        f"chown mlflow-deploy /usr/local/lib/systemd/system/{AGENT}",
        rf"^/usr/local/lib/systemd/system/{AGENT} can be changed by others than root$",
        closing(f"/usr/local/lib/systemd/system/{AGENT}"),
    ),
    "directory above the units that others can change": Damage(
        "chmod 0777 /usr/local/lib/systemd",
        r"^/usr/local/lib/systemd can be changed by others than root$",
        closing("/usr/local/lib/systemd"),
    ),
    "directory above the program that others can change": Damage(
        "chmod 0775 /opt", r"^/opt can be changed by others than root$", closing("/opt")
    ),
    "directory above the program that is closed": Damage(
        "chmod 0700 /opt", r"^/opt is closed to mlflow-agent, who needs what is in /opt/", "chmod a+x /opt"
    ),
    "group of the clients missing": Damage(
        "sed -i '/^mlflow-clients:/d' /etc/group /etc/gshadow", r"there is no group mlflow-clients", SYSUSERS
    ),
    "agent stopped": Damage(f"systemctl stop {AGENT}", rf"{AGENT} is inactive", f"systemctl enable --now {AGENT}"),
    "reconciler stopped": Damage(
        f"systemctl stop {RECONCILER}", rf"{RECONCILER} is inactive", f"systemctl enable --now {RECONCILER}"
    ),
    "reconciler not started at boot": Damage(
        f"systemctl disable {RECONCILER}", rf"{RECONCILER} would not start at boot", f"systemctl enable {RECONCILER}"
    ),
    "agent masked": Damage(
        f"systemctl mask --now {AGENT}",
        rf"{AGENT} is masked",
        f"systemctl unmask {AGENT} && systemctl enable --now {AGENT}",
    ),
    "unit changed behind systemd's back": Damage(
        f"echo '# changed' >>/usr/local/lib/systemd/system/{AGENT}",
        rf"the unit of {AGENT} was changed and systemd still uses the old one",
        f"systemctl daemon-reload && systemctl restart {AGENT}",
    ),
    "reconciler hangs and its status is gone": Damage(
        f"systemctl kill --signal=STOP {RECONCILER}; rm /run/mlflow-reconciler/status.json",
        r"there is no status: /run/mlflow-reconciler/status\.json: No such file",
        f"systemctl restart {RECONCILER}",
    ),
    "agent hangs and its snapshot is cut": Damage(
        f"systemctl kill --signal=STOP {AGENT}; truncate --size=20 /run/mlflow-registry-agent/registry.json",
        r"cannot use the agent's snapshot: /run/mlflow-registry-agent/registry\.json: ",
        f"systemctl restart {AGENT}",
    ),
}


@pytest.mark.parametrize("name", list(DAMAGES))
def test_the_command_that_is_printed_mends(site: Site, name: str) -> None:
    """Broken, found, the very words run by a shell, not found any more."""
    damage = DAMAGES[name]
    site.host.run(damage.what)
    mend = mend_of(site, damage.found)
    assert mend == damage.mend
    site.host.run(mend)


def test_words_for_people_name_the_finding_and_its_mend(site: Site) -> None:
    """One line says what is wrong, the next what to do."""
    site.host.run(f"systemctl disable {AGENT}")
    mend_of(site, f"{AGENT} would not start at boot")
    done = site.host.run(["reconciler", "check"], check=False)
    assert done.returncode == 1
    # Behind the line about Pythons, and what is noted of a test host's limits.
    told = "".join(line for line in done.stdout.splitlines(keepends=True)[1:] if not line.startswith("note: "))
    assert told == f"{AGENT} would not start at boot\n  mend: systemctl enable {AGENT}\n"
    site.host.run(f"systemctl enable {AGENT}")


@pytest.mark.parametrize("user", ["mlflow-agent", "mlflow-deploy", "mlflow-files"])
def test_a_lost_user_is_made_again_and_gets_its_files_back(site: Site, user: str) -> None:
    """Even when somebody else has its number by then: the mends of what is found, one after the other, are enough."""
    number = site.host.output(["id", "-u", user])
    site.host.run(f"sed -i '/^{user}:/d' /etc/passwd /etc/shadow /etc/group /etc/gshadow")
    site.host.run(["useradd", "--system", "--uid", number, f"not-{user}"])
    done: list[tuple[str, str]] = []
    while found := findings(site):
        assert found[0] not in done, f"mended {done}, and yet {found}"
        done.append(found[0])
        site.host.run(done[-1][1])
        site.host.wait_for(lambda: done[-1] not in findings(site) or None, PATIENCE, f"{done[-1][0]} to be mended")
    assert done[0] == (f"there is no user {user}", SYSUSERS)
    assert site.host.output(["id", "-u", user]) != number


@pytest.mark.parametrize("program", ["bin/modelserver", "bin/release-step"])
def test_a_lost_program_is_installed_again(site: Site, program: str) -> None:
    """A launcher that cannot be run; `./dev install` repairs it though the version is the same."""
    site.host.run(f"chmod -x {SHIPPED}/{program}")
    assert mend_of(site, rf"{SHIPPED}/{program} is missing or cannot be run") == INSTALL_AGAIN
    site.host.run([f"{CHECKOUT_INSIDE}/dev", "install"], timeout=300)


LIB = f"{SHIPPED}/current/lib/reconciler"
OPENED = {
    f"chmod 0777 {SHIPPED}/versions": f"^{SHIPPED}/versions can be changed by others than root$",
    f"chmod o+w {LIB}/__pycache__": "/lib/reconciler/__pycache__ can be changed by others than root$",
    f"chown mlflow-deploy {SHIPPED}/current/bin/modelserver": "/bin/modelserver can be changed by others than root$",
}
HIDDEN = {
    f"chmod 0750 {SHIPPED}/environments": f"^{SHIPPED}/environments is hidden from others than root, and mlflow-agent",
    f"chmod -R go-rx {LIB}/core": "/lib/reconciler/core is hidden from others than root",
    "chmod 0755 /var/cache/mlflow-reconciler": "^/var/cache/mlflow-reconciler has mode 0755; it should be closed",
}
UNDONE = f"""
    chown root {SHIPPED}/current/bin/modelserver; chmod 0755 {SHIPPED}/versions {SHIPPED}/environments {LIB}/__pycache__
    chmod -R a+rX {LIB}/core; chmod 0700 /var/cache/mlflow-reconciler
"""


def test_modes_of_the_program_are_put_right_by_installing_again(site: Site) -> None:
    """What others could have changed, and what those who run it cannot read: each is found, all are mended at once."""
    damages = {**OPENED, **HIDDEN}
    for damage, found in damages.items():
        site.host.run(damage)
        assert mend_of(site, found) == INSTALL_AGAIN
        site.host.run(UNDONE)
    site.host.run("; ".join(damages))
    site.host.run([f"{CHECKOUT_INSIDE}/dev", "install"], timeout=300)


def test_a_package_that_others_can_change_is_found(site: Site) -> None:
    """Installing again would make the environment anew, so it is closed here."""
    package = site.host.output(f"ls {SHIPPED}/venv/lib/python3*/site-packages/yaml/__init__.py")
    real = site.host.output(["readlink", "-f", package])
    site.host.run(["chmod", "o+w", package])
    assert mend_of(site, f"^{real} can be changed by others than root$") == INSTALL_AGAIN
    site.host.run(["chmod", "o-w", package])


def test_a_signature_check_that_others_can_change_is_found(site: Site) -> None:
    """Before a model is verified with it."""
    checker, settings = "/usr/local/bin/check-signature", "/etc/mlflow-reconciler/config.d/70-signature.toml"
    site.host.run(["install", "-m", "0757", "/bin/true", checker])
    site.host.write(settings, f"[fetch]\nverify_command = ['{checker}']\n")
    mend = mend_of(site, f"the signature check {checker} can be changed by others than root, at {checker}$")
    site.host.run(mend)
    site.host.wait_for(lambda: findings(site) == [] or None, PATIENCE, "the mend")
    site.host.run(["rm", checker])
    assert mend_of(site, f"{checker} cannot be run: No such file") == "install it, or correct fetch.verify_command"
    site.host.run(["rm", settings])


def test_what_is_missing_for_an_artifact_store_is_found(site: Site) -> None:
    """Keys, server and library; before a version from there is promoted."""
    settings, keys = "/etc/mlflow-reconciler/config.d/70-bucket.toml", "/etc/credstore/artifacts.aws"
    bucket = "[fetch]\nhosts = ['s3://models']\n"
    server = "s3_endpoint_url = 'https://127.0.0.1:9'\n"
    site.host.write(settings, bucket + server)
    mend = mend_of(site, "^fetch.hosts names s3://models, and there is no credential artifacts.aws$")
    assert f"put its keys into {keys} with mode 0600" in mend
    site.host.write(keys, "[default]\n", 0o600)
    site.host.wait_for(lambda: findings(site) == [] or None, PATIENCE, "the keys to be found")
    encrypted = "/etc/credstore.encrypted/artifacts.aws.encrypted"
    site.host.run(f"install -D -m 0600 /dev/null {encrypted}; rm {keys}")
    assert findings(site) == [], "they may be encrypted"
    site.host.write(settings, bucket)
    mend = mend_of(site, "^fetch.hosts names s3://models, and fetch.s3_endpoint_url is empty$")
    assert mend == "set fetch.s3_endpoint_url to the address of the bucket's server"
    site.host.write(settings, bucket + server.replace("https://127.0.0.1", "http://minio.example.org"))
    mend = mend_of(site, "^fetch.s3_endpoint_url is plain HTTP to another host, and nothing is fetched from http://min")
    assert mend == "use https, or set fetch.s3_plain_http"
    site.host.write(settings, bucket.replace("s3:", "gs:"))
    mend = mend_of(site, "^fetch.hosts names gs://models, and there is no library for gs:// here$")
    assert mend == "run ./dev install --with gs"
    site.host.run(f"rm {settings} {encrypted}")


def test_too_few_watches_are_found(site: Site) -> None:
    """The kernel's limit is this machine's, so the host is shown another one."""
    limit = "/proc/sys/fs/inotify/max_user_instances"
    site.host.run(f"echo 49 >/run/limit && mount --bind /run/limit {limit}")
    try:
        mend = mend_of(site, r"^the kernel allows root 49 inotify instances, and watching the files of 1 releases")
        raised = mend.partition(" && sysctl ")[0]
        assert re.fullmatch(r"echo fs\.inotify\.max_user_instances=\d+ >/etc/sysctl\.d/60-\S+\.conf", raised)
        site.host.run(raised)
        assert site.host.read("/etc/sysctl.d/60-mlflow-reconciler.conf").startswith("fs.inotify.max_user_instances=")
    finally:
        site.host.run(f"umount {limit}; rm -f /etc/sysctl.d/60-mlflow-reconciler.conf")


def test_a_lost_uv_is_found(site: Site) -> None:
    """Installing again would download it, so it is put back here."""
    uv = f"{SHIPPED}/venv/bin/uv"
    site.host.run(f"mv {uv} {uv}.away")
    assert mend_of(site, rf"{uv} is missing or cannot be run") == INSTALL_AGAIN
    site.host.run(f"mv {uv}.away {uv}")


def test_a_lost_shipped_template_is_installed_again(site: Site) -> None:
    """`./dev install` repairs it though the version is the same."""
    site.host.run(f"rm {SHIPPED}/templates/native/model.socket.j2")
    mend = mend_of(site, r"cannot render model-example\.socket from native/model\.socket\.j2: .*; mend the template")
    assert mend == INSTALL_AGAIN
    site.host.run([f"{CHECKOUT_INSIDE}/dev", "install"], timeout=300)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[Service]\nExecStart={{ launcher }\n", r"cannot render model-example@\S+ from native/model\.service\.j2:2: "),
        ("[Service]\nExecStart={{ no_such_value }}\n", r"cannot render .*'no_such_value' is undefined"),
        ("[Service]\nExecStart=/bin/true\nMemoryMaximum=1G\n", r"cannot use model-example@\S+ .*'MemoryMaximum'"),
    ],
)
def test_a_wrong_template_of_the_host_is_found(site: Site, text: str, found: str) -> None:
    """By jinja or by systemd; the mend names the file and says that it may go."""
    site.host.write(OWN_TEMPLATE, text)
    assert mend_of(site, found) == f"mend {OWN_TEMPLATE}, or remove it to use the shipped one"
    site.host.run(["rm", OWN_TEMPLATE])


def test_a_foreign_unit_with_a_name_of_ours_is_found(site: Site) -> None:
    """It is left alone until somebody does as is printed."""
    unit = "model-healthy@9.00000000.service"
    path = f"/etc/systemd/system/{unit}"
    site.host.write(path, "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n")
    site.host.run(f"systemctl daemon-reload; systemctl enable --now {unit}")
    mend = mend_of(site, rf"the unit {unit} has a name of a model's unit but was made by somebody else")
    assert site.host.output(["systemctl", "is-active", unit]) == "active"
    command, and_then = mend.split(", ")
    assert and_then == "and move its file away"
    site.host.run(f"{command} && mv {path} /root/")


def test_what_is_wrong_with_the_file_system_is_found(site: Site) -> None:
    """Too little space, and a mount that no program may be run from."""
    mount = f"mount -t tmpfs -o size=100M,mode=0750,gid=$(id -g mlflow-deploy) tmpfs {HOME}"
    site.host.run(f"{mount} && {TMPFILES} && fallocate -l 60M {HOME}/large")
    try:
        mend = mend_of(site, rf"{HOME} has \d+ MiB free, less than fetch\.keep_free")
        assert re.fullmatch(r"free \d+ MiB there, or lower fetch\.keep_free", mend)
        site.host.run(f"rm {HOME}/large; mount -o remount,noexec {HOME}")
        mend = mend_of(site, rf"{HOME} is on a file system mounted noexec")
        assert mend == f"mount -o remount,exec {HOME}"
        site.host.run(mend)
        assert findings(site) == []
    finally:
        site.host.run(["umount", HOME])


PLACES = (
    *("/var/lib/mlflow-reconciler", "/etc/systemd/system", "/run/mlflow-reconciler"),
    *("/run/mlflow-registry-agent", "/run/models", HOME),
)


@pytest.mark.parametrize("place", PLACES)
def test_a_place_that_is_full_or_read_only_is_found(site: Site, place: str) -> None:
    """With the name of the file system and the command that mends it; with room and leave nothing is wrong again."""
    site.host.write("/etc/mlflow-reconciler/config.d/80-small.toml", "[fetch]\nkeep_free = '1M'\n")
    site.host.run(f"mount -t tmpfs -o size=16M,mode=$(stat -c %a {place}) tmpfs /mnt; cp -a {place}/. /mnt")
    site.host.run(
        f"chown --reference={place} /mnt; mount --bind /mnt {place}; umount /mnt; fallocate -l 12500K {place}/large"
    )
    try:
        mend = mend_of(site, rf"cannot write to {place}: no space left, \d+ of 16384 KiB are free on {place}$")
        assert re.fullmatch(rf"free \d+ KiB on {place}; what is large there: du -xah {place} \| sort -h \| tail", mend)
        assert f"{place}/large" in site.host.output(mend.partition(": ")[2])
        site.host.run(f"rm {place}/large; mount -o remount,bind,ro {place}")
        mend = mend_of(site, rf"cannot write to {place}: {place} \(tmpfs\) is mounted read-only$")
        site.host.run(mend.partition("; ")[0])
        site.host.wait_for(lambda: findings(site) == [] or None, PATIENCE, "the mend")
    finally:
        site.host.run(f"umount {place}; rm /etc/mlflow-reconciler/config.d/80-small.toml")


def test_a_place_without_room_for_another_file_is_found(site: Site) -> None:
    """There may be bytes and no inodes."""
    site.host.run("mount -t tmpfs -o size=16M,nr_inodes=8,mode=0755 tmpfs /run/models; touch /run/models/{1,2,3,4,5,6}")
    try:
        mend = mend_of(site, r"cannot write to /run/models: no space left for another file, 1 of 8 inodes are free")
        assert mend.startswith("remove files on /run/models; where they are many: du -x --inodes /run/models | ")
    finally:
        site.host.run(["umount", "/run/models"])


def test_the_temporary_files_of_the_reconciler_have_room_or_it_is_found(site: Site) -> None:
    """Its /tmp is its own, and what is mounted there only it can see."""
    inside = f"nsenter --mount --target=$(systemctl show -P MainPID {RECONCILER})"
    site.host.run(f"{inside} mount -t tmpfs -o size=1M tmpfs /tmp; {inside} fallocate -l 900K /tmp/large")
    mend = mend_of(site, rf"^cannot write to /tmp of {RECONCILER}: no space left, \d+ of 1024 KiB are free on /tmp$")
    assert mend == f"systemctl restart {RECONCILER}"
    site.host.run(mend)


def test_what_only_the_reconciler_cannot_write_to_is_found(site: Site) -> None:
    """Its mounts are made when it is started."""
    inside = f"nsenter --mount --target=$(systemctl show -P MainPID {RECONCILER})"
    site.host.run(f"{inside} mount -o remount,bind,ro /etc/systemd/system")
    mend = mend_of(site, rf"^cannot write to /etc/systemd/system of {RECONCILER}: it is read-only to that service$")
    site.host.run(mend)


def test_a_service_that_does_not_stay_up_is_found(site: Site) -> None:
    """The reason is in its journal; when that is mended a restart is enough."""
    drop_in = f"/etc/systemd/system/{AGENT}.d/broken.conf"
    site.host.write(drop_in, "[Service]\nExecStart=\nExecStart=/bin/false\n")
    site.host.run(f"systemctl daemon-reload; systemctl restart {AGENT}", check=False)
    mend = mend_of(site, rf"{AGENT} does not stay up; see journalctl -u {AGENT} for the reason")
    first, _, command = mend.partition(", then ")
    assert first == "mend the reason"
    site.host.run(f"rm {drop_in}; systemctl daemon-reload; {command}")


def test_a_registry_that_does_not_answer_is_found(site: Site) -> None:
    """With the agent's own word, until the MLflow server is back."""
    site.registry.stop()
    mend = mend_of(site, r"cannot read the registry at http\S+: ")
    assert mend == f"see that the MLflow server answers at {site.registry.uri}, or change registry.uri"
    site.registry.start()


def test_wrong_settings_are_found_before_anything_else(site: Site) -> None:
    """The sentence names file and key."""
    wrong = "/etc/mlflow-reconciler/config.d/90-wrong.toml"
    site.host.write(wrong, "[registry]\npol_interval = 5\n")
    mend = mend_of(site, rf"cannot use the settings: {wrong}: registry\.pol_interval: .*registry\.poll_interval")
    assert mend == "change what the sentence names, then run reconciler check again"
    site.host.run(["rm", wrong])


@pytest.mark.parametrize(("module", "package"), [("gi", "python3-gi"), ("systemd", "python3-systemd")])
def test_a_lost_debian_package_is_found(site: Site, module: str, package: str) -> None:
    """Without a traceback. Installing it needs a mirror of Debian, so it is put back here."""
    path = f"/usr/lib/python3/dist-packages/{module}"
    site.host.run(f"mv {path} /root/{module}")
    try:
        assert mend_of(site, rf"the Python module {module} is missing") == f"apt-get install {package}"
    finally:
        site.host.run(f"mv /root/{module} {path}")
