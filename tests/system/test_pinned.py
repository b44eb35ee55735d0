"""Files that were changed on the disk after the first fetch are mended, not served."""

from typing import Any

import pytest

from reconciler.core import names
from tests.system.site import Site, code
from tests.system.test_bad_models import ARTIFACTS, artifacts_of

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(600)]

MODEL = "/var/lib/mlflow-deploy/model_deploys/pinned/releases/1/model"
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
