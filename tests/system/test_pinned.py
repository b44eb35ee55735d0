"""Files that were changed on the disk after the first fetch are mended, not served."""

from tests.system.site import Site, code

MODEL = "/var/lib/mlflow-deploy/model_deploys/pinned/releases/1/model"


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
