"""Files that were changed on the disk after the first fetch are mended, not served."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.core.units import names
from tests.host.host import CHECKOUT_INSIDE
from tests.system.site import PYTHON, Site, code
from tests.system.test_bad_models import ARTIFACTS, artifacts_of

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(600)]

MODEL = "/var/lib/mlflow-deploy/model_deploys/pinned/releases/1/model"
HANDED = "/var/lib/mlflow-deploy/model_deploys/handed/releases/1/model"
OVERWRITER = Path(__file__).with_name("overwriter.py")
CHECK = "/usr/local/sbin/check-signature"
SETTING = "/etc/mlflow-reconciler/config.d/70-check.toml"


def test_a_file_changed_just_before_a_start_is_mended_and_never_served(site: Site) -> None:
    """The server says why it does not start; fetched again, the right bytes are served."""
    site.serve({"name": "pinned", "code": code()})
    (unit,) = site.host.output("systemctl list-units --plain --no-legend 'model-pinned@*' | cut -d' ' -f1").split()
    file = site.host.output(f"find {MODEL} -name '*.py' | head -1")
    before = site.host.output(f"sha256sum {file}")
    site.host.run("systemctl stop mlflow-reconciler")
    site.host.run(f"systemctl stop {unit} && sed -i 's/negative/positive/' {file}")
    assert site.host.output(f"sha256sum {file}") != before
    site.host.run(f"systemctl start {unit}", check=False)
    shown = site.host.output(f"systemctl show --property=ExecMainStatus,ActiveState,StatusText {unit}")
    assert "ActiveState=failed" in shown
    assert "ExecMainStatus=78" in shown
    assert "StatusText=cannot serve these files: the model's directory is not as it was" in shown
    site.host.run("systemctl start mlflow-reconciler")
    site.host.wait_for(
        lambda: site.host.run(f"sha256sum {file}", check=False).stdout.strip() == before or None, 180, "the file"
    )
    site.wait_for("pinned", "serving", 1)
    assert "negative" in site.predict("pinned", {}, {}).text


OTHER = "/var/lib/mlflow-deploy/model_deploys/other/releases/1"
HELD = "/run/held"
KEEP = "import mmap, os, signal, sys; f = os.open(sys.argv[1], os.O_RDWR); {keep}; print(f, flush=True); signal.pause()"
OPEN, MAPPED = KEEP.format(keep="pass"), KEEP.format(keep="m = mmap.mmap(f, 0); os.close(f)")
CHANGES = {
    "overwrite": "echo more >>{file}",
    "replace": "cp {file} /tmp/other && mv -f /tmp/other {file}",
    "remove": "rm {file}",
    "add": "touch {model}/more.py",
    "open to others": "chmod a+w {file}",
    "open the directory": "chmod a+w {model}",
    "rename the files": "mv {model} {model}.old",
    "rename the release": "mv {release} {release}0",
    "a name for it elsewhere": "ln {file} /var/lib/theirs/other",
}


def go_on_as_deploy_user(site: Site, *arguments: str) -> None:
    """Have a Python program of the deploy user's run on, as the unit `holder`, once it has said something."""
    start = ["systemd-run", "--quiet", "--collect", "--unit=holder", "--uid=mlflow-deploy", "--gid=mlflow-deploy"]
    site.host.run(["rm", "-f", HELD])
    site.host.run([*start, f"--property=StandardOutput=truncate:{HELD}", PYTHON, "-I", *arguments])
    site.host.wait_for(lambda: site.host.run(f"cat {HELD}", check=False).stdout or None, 60, "the holder")


def answer(site: Site, name: str = "pinned") -> str:
    """What a deployment predicts."""
    return site.predict(name, {}, {}).text


def test_a_file_changed_while_the_host_was_off_is_never_served(site: Site) -> None:
    """The boot starts the server by itself, before anybody looks: it refuses, and is mended once the store is there."""
    file = site.host.output(f"find {MODEL} -name '*.py' | head -1")
    site.host.power_off()
    inside = site.host.root / file.lstrip("/")
    right = inside.read_text()
    inside.write_text(right.replace("negative", "positive"))
    site.host.boot()
    site.registry.start()
    site.wait_for("pinned", "serving", 1)
    assert "negative" in answer(site)
    assert site.host.output(["cat", file]) == right.strip()
    refused = site.host.output("journalctl -b --no-pager --output=cat --unit='model-pinned@*'")
    assert "cannot serve these files: the model's directory is not as it was" in refused


def test_a_signature_is_checked_in_the_sandbox_of_the_verification(site: Site) -> None:
    """openssl runs there; a signature that is not good is the reason in the status, and what serves goes on."""
    script = 'exec /usr/bin/openssl dgst -sha256 -verify /etc/check.pub -signature /etc/check.sig "$2/MLmodel"'
    site.host.write(CHECK, f"#!/bin/sh\n{script}\n", 0o755)
    site.host.run(
        "cd /etc && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out check.key && "
        "openssl pkey -in check.key -pubout -out check.pub && "
        f"openssl dgst -sha256 -sign check.key -out check.sig {MODEL}/MLmodel && chmod a+r check.pub check.sig"
    )
    verify = names.verify_unit("pinned", 1)

    def have_checked(word: str) -> None:
        site.host.write(SETTING, f'[fetch]\nverify_command = ["{CHECK}", "{word}"]\n')
        site.host.run("systemctl reload mlflow-reconciler")

    have_checked("first")
    site.host.wait_for(
        lambda: f"and {CHECK} agreed" in site.host.output(f"systemctl show -P StatusText {verify}") or None,
        120,
        "the check to agree",
    )
    site.host.run("openssl dgst -sha256 -sign /etc/check.key -out /etc/check.sig /etc/hostname")
    have_checked("second")

    def refused() -> dict[str, Any] | None:
        one = site.statuses()["pinned"]
        return one if one["reason"] == "verify-failed" else None

    one = site.host.wait_for(refused, 120, "the check to refuse")
    assert f"cannot use version 1 of pinned: the signature check {CHECK} said: " in one["message"]
    assert "negative" in answer(site)
    site.host.run(["rm", SETTING])
    site.host.run("systemctl reload mlflow-reconciler")
    site.host.wait_for(lambda: site.statuses()["pinned"]["reason"] == "" or None, 120, "no check")


def test_a_file_changed_in_the_store_and_on_the_disk_is_reported_and_not_served(site: Site) -> None:
    """There is no right copy any more; the host goes on with its other models."""
    site.serve({"name": "beside", "code": code()})
    stored = f"{ARTIFACTS}/{artifacts_of(site, 'pinned').removeprefix('mlflow-artifacts:/')}"
    site.host.run(f"find {stored} {MODEL} -name '*.py' -exec sed -i s/negative/positive/ {{}} +")
    site.host.run("systemctl stop 'model-pinned@*'")

    def reported() -> dict[str, Any] | None:
        one = site.statuses()["pinned"]
        return one if "has other files than when it was first fetched here" in one["message"] else None

    one = site.host.wait_for(reported, 120, "the change to be reported")
    assert (one["state"], one["active_version"]) == ("failed", None)
    assert not site.host.output("systemctl list-units --plain --no-legend --state=active 'model-pinned@*'")
    assert "negative" in answer(site, "beside")
    site.demote("pinned")  # what fails is tried again and again, and later tests wait for rest


@pytest.fixture
def file(site: Site) -> Iterator[str]:
    """The code of a model that serves, after whatever was done to it; afterwards it serves as it did."""
    if "handed" not in site.statuses():
        site.serve({"name": "handed", "code": code()}, {"name": "other", "code": code()})
    yield site.host.output(f"find {HANDED} -name '*.py' | head -1")
    site.host.run("systemctl stop holder || true; systemctl start mlflow-reconciler")
    site.settle()
    site.wait_for("handed", "serving", 1)
    assert "negative" in answer(site, "handed")


def test_what_serves_cannot_be_changed_by_who_fetched_it(site: Site, file: str) -> None:
    """Nothing of it is the deploy user's any more, by whatever it is tried."""
    assert site.host.output(f"find {HANDED} {OTHER} ! -user mlflow-files") == ""
    before = site.host.output(f"sha256sum {file}")
    site.host.run("install -d -o mlflow-deploy /var/lib/theirs")
    for what, command in CHANGES.items():
        tried = site.host.run(
            command.format(file=file, model=HANDED, release=HANDED.removesuffix("/model")),
            user="mlflow-deploy",
            check=False,
        )
        assert tried.returncode, f"{what}: {tried.stdout}"
        assert "not permitted" in tried.stderr or "denied" in tried.stderr, f"{what}: {tried.stderr}"
    assert site.host.output(f"sha256sum {file}") == before


def test_a_file_cannot_be_changed_between_the_check_and_the_server(site: Site, file: str) -> None:
    """Whoever waits for the check to close the file is told that it is not his."""
    (unit,) = site.host.output("systemctl list-units --plain --no-legend 'model-handed@*' | cut -d' ' -f1").split()
    go_on_as_deploy_user(site, f"{CHECKOUT_INSIDE}/tests/system/{OVERWRITER.name}", file)
    site.host.run(f"systemctl restart {unit}", timeout=120)
    tried = site.host.wait_for(lambda: site.host.read(HELD).split("\n")[1:-1] or None, 60, "a try")
    assert set(tried) == {"Permission denied"}
    assert "negative" in answer(site, "handed")


@pytest.mark.parametrize(
    "how",
    [
        *("open", "a name in another release"),
        *(pytest.param(how, marks=pytest.mark.by_hand) for how in ("mapped", "for everybody")),
    ],
)
def test_nothing_is_kept_from_when_it_was_fetched(site: Site, file: str, how: str) -> None:
    """What the deploy user holds, from when the files were his, keeps them from being verified until they are anew."""
    host = site.host
    verify, fetch = names.verify_unit("handed", 1), names.fetch_unit("handed", 1)
    # As in a deployment: the fetch takes the directory back.
    host.run("systemctl stop mlflow-reconciler; systemctl stop 'mlflow-verify@*'")
    host.run(f"systemctl restart {fetch} {names.fetch_unit('other', 1)}")
    assert host.output(f"find {HANDED} ! -user mlflow-deploy") == ""
    if how in ("open", "mapped"):
        go_on_as_deploy_user(site, "-c", OPEN if how == "open" else MAPPED, file)
    else:
        command = f"ln {file} {OTHER}/model/more" if how != "for everybody" else f"chmod a+w {file}"
        host.run(command, user="mlflow-deploy")
    assert host.run(f"systemctl start {verify}", check=False).returncode
    why = {
        "open": "has a file that somebody has open for writing",
        "mapped": "has a file that somebody has open for writing",
        "a name in another release": "has a file with a second name elsewhere",
        "for everybody": "can be changed by others than its owner",
    }
    said = host.output(f"systemctl show -P StatusText {verify}")
    assert f": it {why[how]} (" in said
    # Mended by nobody but the reconciler, while the holder holds what he has.
    before = host.output(f"stat -c %i {file}")
    host.run("systemctl start mlflow-reconciler")
    host.wait_for(lambda: verified(site, verify) or None, 120, "another verification")
    assert host.output(f"stat -c %i {file}") != before
    assert host.output(f"find {HANDED} ! -user mlflow-files") == ""


def verified(site: Site, verify: str) -> bool:
    """Whether the files are verified."""
    return site.host.output(f"systemctl show -P SubState {verify}") == "exited"
