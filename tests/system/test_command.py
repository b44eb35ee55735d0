"""`reconciler` as people type it: plan, status, help, wrong settings, missing rights."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.system.site import SCIENTIST, Site, code

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

AGENT, RECONCILER = "mlflow-registry-agent.service", "mlflow-reconciler.service"
DROP_IN = "/etc/mlflow-reconciler/config.d/90-test.toml"
STATES = {
    *("pending", "preparing", "rolling-out", "serving", "idle", "degraded"),
    *("failed", "stalled", "held", "suspended", "removing", "not-deployable"),
}
# Everything that a plan could change: files with content and time, and what systemd has loaded.
EVERYTHING = """
    find /etc/systemd/system /etc/mlflow-reconciler /var/lib/mlflow-reconciler /run/mlflow-reconciler /run/models \
        /run/mlflow-registry-agent -printf '%p %M %u %l %s ' \\( -name registry.json -o -printf '%T@' \\) -printf '\\n'
    find /var/lib/mlflow-deploy -printf '%p %M %u %l %T@\\n'
    find /etc/systemd/system /var/lib/mlflow-reconciler -type f -exec sha256sum {} +
    systemctl list-units --all --plain --no-legend
"""


@pytest.fixture(scope="module", autouse=True)
def serving(site: Site) -> None:
    """A model serves, another is registered with two versions."""
    site.register({"name": "first", "code": code()}, {"name": "second", "code": code()})
    site.registry.promote("first", 1)
    site.wait_for("first", "serving", 1)


@contextmanager
def stopped(site: Site) -> Iterator[None]:
    """No reconciler meanwhile."""
    site.host.run(["systemctl", "stop", RECONCILER])
    try:
        yield
    finally:
        site.host.run(["systemctl", "start", RECONCILER])


def plan(site: Site, *options: str) -> tuple[int, str]:
    """The exit code and what is printed."""
    done = site.host.run(["reconciler", "plan", *options], check=False)
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_plan_of_nothing_exits_0(site: Site) -> None:
    """In words and as data."""
    site.host.wait_for(lambda: plan(site)[0] == 0, 120, "nothing to do")
    assert plan(site) == (0, "nothing to do\n")
    code_, text = plan(site, "--json")
    document = json.loads(text)
    assert (code_, document["schema"], document["by"]) == (0, 1, "reconciler")
    assert [document[key] for key in ("actions", "under_way", "deployments", "shared", "waits")] == [[], [], [], [], []]


def test_a_plan_shows_what_would_be_done_and_does_nothing(site: Site) -> None:
    """With the daemon stopped after a promotion: the same actions each time, in order, and nothing changes."""
    with stopped(site):
        site.registry.promote("second", 1)
        site.host.wait_for(lambda: plan(site)[0] == 2, 120, "the agent to see the promotion")
        before = site.host.output(EVERYTHING)
        first, second = plan(site), plan(site)
        assert site.host.output(EVERYTHING) == before
    assert first == second
    assert first[1].splitlines() == [
        "the reconciler was not asked; this is what it would do after a start",
        "second: version 1, new",
        "  + mlflow-fetch@second.1.service: write, start",
        "  then: build its environment unless it is here, verify the files, start version",
        "    1",
        "1 change, which the reconciler makes by itself",
    ]
    site.wait_for("second", "serving", 1)


def test_a_plan_as_data_has_the_same_actions(site: Site) -> None:
    """What was damaged while the daemon was stopped is planned to be restored."""
    with stopped(site):
        site.host.run("rm /etc/systemd/system/model-second.slice")
        code_, text = plan(site)
        _, document = plan(site, "--json")
    assert code_ == 2
    assert json.loads(document)["schema"] == 1
    actions = json.loads(document)["actions"]
    assert {"do": "restore", "unit": "model-second.slice", "deployment": "second"} in actions
    assert "second: version 1\n  ~ model-second.slice: restore\n" in text
    site.host.wait_for(lambda: plan(site)[0] == 0, 120, "the damage to be repaired")


def test_in_confirm_mode_the_plan_that_was_shown_is_carried_out(site: Site) -> None:
    """Only that one, and only for root; the status and the journal say once what waits."""
    site.change_settings("90-confirm.toml", "[reconcile]\nmode = 'confirm'\n")
    began = len(waiting_lines(site))
    site.registry.promote("second", 1, "Archived")
    told = site.wait_for("second", "held")
    assert (told["reason"], told["active_version"]) == ("not-confirmed", "1")
    code_, text = plan(site)
    shown = json.loads(plan(site, "--json")[1])["id"]
    assert code_ == 2
    assert text.splitlines()[-1] == f"plan {shown} waits: reconciler apply {shown} carries it out"
    other = site.host.run(["reconciler", "apply", "0" * 12], check=False)
    assert (other.returncode, f"what would be done now ({shown}: second is removed)" in other.stderr) == (1, True)
    assert site.host.run(["reconciler", "apply", shown], user=SCIENTIST, check=False).returncode == 1
    assert site.statuses()["second"]["state"] == "held"
    assert len(waiting_lines(site)) == began + 1
    assert site.host.output(["reconciler", "apply", shown]) == f"applying plan {shown}: second is removed"
    site.wait_until_gone("second")
    site.host.run(["rm", "/etc/mlflow-reconciler/config.d/90-confirm.toml"])
    site.registry.promote("second", 1)
    site.wait_for("second", "serving", 1)


def waiting_lines(site: Site) -> list[str]:
    """What the journal says of a deployment that waits for a plan."""
    lines = site.host.journal("--unit=mlflow-reconciler", "--output=cat").splitlines()
    return [line for line in lines if "waits for reconciler apply" in line]


def test_everybody_may_see_the_status(site: Site) -> None:
    """An ordinary user gets a table with one line a deployment."""
    lines = site.host.output(["reconciler", "status"], user=SCIENTIST).splitlines()
    assert re.fullmatch(rf"{site.host.name}: the registry was read \d+ s ago", lines[0])
    assert lines[1].split() == ["NAME", "STATE", "WANTED", "ACTIVE", "SINCE", "URL", "MESSAGE"]
    rows = {line.split()[0]: line for line in lines[2:]}
    assert set(rows) == {"first", "second"}
    for name, row in rows.items():
        assert re.match(rf"{name} +serving +1 +1 +\d+ (s|min) +http://127\.0\.0\.1:\d+ +selected by stage", row)


def test_the_status_as_data_has_the_keys_of_the_contract(site: Site) -> None:
    """Other people's programs rely on them."""
    document = json.loads(site.host.output(["reconciler", "status", "--json"], user=SCIENTIST))
    assert document["schema"] == 1
    assert document["host"] == site.host.name
    assert document["registry"]["reachable"] is True
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", document["registry"]["read_at"])
    keys = {"name", "desired_version", "active_version", "state", "reason", "message", "since", "url", "socket"}
    keys |= {"example", "nats", "active_since", "standby_version", "public_url", "tries", "next_try"}
    for one in document["deployments"]:
        assert set(one) == keys
        assert one["state"] in STATES
        assert (one["desired_version"], one["active_version"]) == ("1", "1")
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+", one["url"])
        assert one["socket"] == f"/run/models/{one['name']}.sock"
    published = json.loads(site.host.read("/run/mlflow-reconciler/status.json"))
    assert published.keys() == document.keys()
    assert published["deployments"] == document["deployments"]


def test_everybody_may_see_a_page_of_one_deployment(site: Site) -> None:
    """Units and figures to all; history and journal to those who may read them. A monitor needs no root either."""
    command = ["reconciler", "status", "first", "--json"]
    seen, roots = (json.loads(site.host.output(command, user=user)) for user in (SCIENTIST, "root"))
    assert (seen["before"], seen["events"], seen["opened"]) == (None, None, "")
    assert [unit["unit"] for unit in seen["units"]] == ["model-first.socket", f"model-first@{seen['release']}.service"]
    server = seen["units"][1]
    assert (server["state"], server["restarts"], server["errors"]) == ("active (running)", 0, 0)
    assert server["since"] is not None
    assert any("version 1 of first is serving" in event["message"] for event in roots["events"])
    text = site.host.output(["reconciler", "status", "first"], user=SCIENTIST)
    assert f"serving    version 1 (release {seen['release']}) since " in text
    assert "/run/models/first.sock" in text
    line = site.host.output(["reconciler", "status", "--check"], user=SCIENTIST)
    assert re.match(r"RECONCILER OK: [12] serving \| ", line)  # the second one serves from an earlier test on


def test_a_mistyped_name_is_told_what_may_be_meant(site: Site) -> None:
    """By each command that takes one; the journal still knows what is gone."""
    for command in ("status", "logs", "history", "retry"):
        done = site.host.run(["reconciler", command, "frist"], check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.endswith(": there is no such deployment; did you mean first?\n")
    lines = site.host.output(["reconciler", "logs", "first", "--since", "1h", "-n", "3"]).splitlines()
    assert len([line for line in lines if not line.startswith("--")]) == 3
    assert site.host.output(["reconciler", "--version"]).startswith("reconciler 0.1.0 (installed: ")


def test_systemctl_status_says_one_human_sentence(site: Site) -> None:
    """Of both services, for ops who look there first."""
    said = site.host.output(["systemctl", "status", "--no-pager", RECONCILER, AGENT])
    assert 'Status: "2 serving"' in said
    assert f'Status: "read 2 models at {site.registry.uri}, 2 selected"' in said


REPLAY = {
    "request.json": {"schema": 1, "metadata": {}, "parts": {}},
    "response.json": {"output": [0.5], "diagnosis": "negative"},
}


def test_a_version_that_serves_untried_is_told_of_and_can_be_refused(site: Site) -> None:
    """In the status, the journal and the registry; where an example is required, the one that has it serves."""
    untried = "no logged example: version 1 answered nothing before it took traffic; log it with input_example=…"
    told = site.statuses()["first"]
    assert (told["state"], told["reason"], told["example"]) == ("serving", "", "none")
    assert untried in told["message"]
    assert untried in site.host.output(["reconciler", "status"], user=SCIENTIST)
    [line] = [one for one in site.story("first") if "first is serving at" in str(one["MESSAGE"])]
    assert untried in line["MESSAGE"]
    assert line["PRIORITY"] == "4"
    key = f"deployed.{site.host.name}"
    site.host.wait_for(lambda: untried in str(site.registry.version("first", 1)), 60, f"{key} to say it")

    site.change_settings("90-test.toml", "[policy]\nrequire_example = true\n")
    site.register({"name": "third", "code": code()}, {"name": "third", "code": code(), "replay": REPLAY})
    site.registry.promote("third", 1)
    refused = site.wait_for("third", "failed", 1)
    assert refused["reason"] == "no-example"
    assert "this host requires one (policy.require_example)" in refused["message"]
    site.registry.promote("third", 2)
    site.wait_for("third", "serving", 2)
    told = site.statuses()["third"]
    assert (told["example"], "no logged example" in told["message"]) == ("logged", False)
    assert site.statuses()["first"]["state"] == "serving"
    site.registry.promote("third", 1, "Archived")
    site.host.run(["rm", DROP_IN])
    site.demote("third")


def test_every_command_explains_itself(site: Site) -> None:
    """`--help` of the whole, and of each command that it names."""
    overview = site.host.output(["reconciler", "--help"], user=SCIENTIST)
    commands = re.findall(r"^\W*([a-z]+)  +[A-Z]", overview, re.MULTILINE)
    assert {"agent", "run", "plan", "status", "check"} <= set(commands)
    for command in commands:
        text = site.host.output(["reconciler", command, "--help"], user=SCIENTIST)
        assert f"Usage: reconciler {command}" in text
        assert "--after-action" not in text
    unknown = site.host.run(["reconciler", "reconcile"], check=False)
    assert unknown.returncode == 2
    assert "No such command" in unknown.stderr


WRONG = {
    "key": (
        "[registry]\npoll_intervall = 5\n",
        r"registry\.poll_intervall: no such key; did you mean registry\.poll_inter",
    ),
    "value": ('[reconcile]\ninterval = "soon"\n', r"reconcile\.interval: should be a whole number of seconds.*"),
    "section": ("[registy]\nuri = 'http://x'\n", r"registy.*: no such key; did you mean registry\?"),
    "syntax": ("[registry]\nuri =\n", r"line 2, column 6: Invalid value"),
    "range": ("[deploy]\nport_range = [5, 4]\n", r"deploy\.port_range: should be \[lowest, highest\].*"),
    "credential": ("[registry]\npassword = 'x'\n", r"registry\.password: no such key: credentials are not settings.*"),
}


@pytest.mark.parametrize("kind", list(WRONG))
@pytest.mark.parametrize("command", ["run", "agent", "plan"])
def test_wrong_settings_are_refused_by_file_and_key(site: Site, command: str, kind: str) -> None:
    """One sentence, with the line where the syntax is wrong, and exit code 2."""
    text, what = WRONG[kind]
    site.host.write("/root/wrong.toml", text)
    done = site.host.run(["reconciler", command, "--config", "/root/wrong.toml"], check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.fullmatch(rf"cannot use the settings: /root/wrong\.toml: {what}.*; mend the file\n", done.stderr)


def test_other_places_of_settings_are_named_too(site: Site) -> None:
    """A file that is missing, a drop-in, the environment."""
    done = site.host.run(["reconciler", "plan", "--config", "/root/none.toml"], check=False)
    assert (done.returncode, "/root/none.toml: no such file" in done.stderr) == (2, True)
    named = site.host.run(
        ["reconciler", "plan"], check=False, environment={"MLFLOW_RECONCILER_CONFIG": "/root/none.toml"}
    )
    assert (named.returncode, named.stderr) == (done.returncode, done.stderr)
    variable = {"MLFLOW_RECONCILER_RECONCILE__INTERVAL": "soon"}
    done = site.host.run(["reconciler", "plan"], check=False, environment=variable)
    assert done.returncode == 2
    assert re.match(r"cannot use the settings: environment: MLFLOW_RECONCILER_RECONCILE__INTERVAL: ", done.stderr)


@pytest.mark.parametrize("command", ["run", "plan", "check"])
def test_who_is_not_root_is_told_so(site: Site, command: str) -> None:
    """A sentence, not a traceback."""
    done = site.host.run(["reconciler", command], user=SCIENTIST, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"cannot {command}: it looks at what only root may see; run it with sudo\n"


def test_running_services_keep_the_old_settings_until_the_new_ones_can_be_used(site: Site) -> None:
    """A wrong file is refused when it changes and at each reload, and nothing of it is taken; mended, it is."""
    started = invocations(site)
    site.registry.set_alias("second", "champion", 1)
    site.registry.promote("second", 1, "Archived")
    site.wait_until_gone("second")
    selectors = "[registry]\nselectors = ['alias:champion', 'stage:Production']\n"
    site.host.write(DROP_IN, f"{selectors}poll_interval = 'seldom'\n")
    refused = rf"cannot use the settings: {DROP_IN}: registry\.poll_interval: .*; the old settings stay in force"
    for service in (RECONCILER, AGENT):
        wait_for_line(site, service, refused, 1)
    site.host.run(["systemctl", "reload", RECONCILER, AGENT])
    for service in (RECONCILER, AGENT):
        wait_for_line(site, service, refused, 2)
    site.host.wait_for(lambda: "the old settings stay in force" in head(site), 60, "the status to say it")
    # Two more readings of the registry, and still nothing of the file is taken.
    wait_for_polls(site, 2)
    assert set(site.statuses()) == {"first"}
    site.host.write(DROP_IN, selectors)
    site.wait_for("second", "serving", 1)
    assert "settings" not in head(site)
    site.host.run(["rm", DROP_IN])
    site.wait_for("second", "held")
    agreed = site.host.output(["reconciler", "apply", "--confirm-registry"])
    assert agreed.endswith("; removing second, unless the registry does not show them or they are many")
    site.wait_until_gone("second")
    assert invocations(site) == started


def test_another_registry_whose_numbers_begin_again_needs_one_word(site: Site) -> None:
    """Rebuilt at the same address: version 1 of the same name has other files, and the status names the command."""
    site.host.run(["systemctl", "stop", AGENT])
    site.registry.rebuild()
    assert site.register({"name": "first", "code": code(([0.75], "positive"))}) == {"first": 1}
    site.registry.promote("first", 1)
    site.host.run(["systemctl", "start", AGENT])
    told = site.wait_for("first", "degraded", 1)
    assert (told["reason"], told["active_version"]) == ("number-used-again", "1")
    assert site.predict("first", {}, {}).json() == {"output": [0.5], "diagnosis": "negative"}
    command = told["message"].rpartition(": ")[2]
    assert command == "reconciler rollout first --replace-files"
    assert "until it serves requests are refused" in site.host.output(command)
    site.wait_for("first", "serving", 1)
    assert site.predict("first", {}, {}).json() == {"output": [0.75], "diagnosis": "positive"}
    site.settle()
    again = site.host.run(command, check=False)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.startswith(
        "cannot replace the files of first: what the registry selects has a number of its own"
    )


def head(site: Site) -> str:
    """What the status says above its table."""
    return site.host.output(["reconciler", "status"], user=SCIENTIST).partition("NAME ")[0]


def invocations(site: Site) -> str:
    """What changes when a service is restarted."""
    return site.host.output(["systemctl", "show", "--property=InvocationID", RECONCILER, AGENT])


def wait_for_line(site: Site, service: str, pattern: str, times: int) -> None:
    """Wait until a service has said something so many times."""

    def said() -> bool:
        return len(re.findall(pattern, site.host.journal(f"--unit={service}", "--output=cat"))) >= times

    site.host.wait_for(said, 120, f"{service} to say {pattern!r} {times} times")


def wait_for_polls(site: Site, count: int) -> None:
    """Wait until the agent has read the registry so many times more."""
    when = ["stat", "--format=%.Y", "/run/mlflow-registry-agent/registry.json"]
    seen = {site.host.output(when)}

    def seen_another() -> bool:
        seen.add(site.host.output(when))
        return len(seen) > count

    site.host.wait_for(seen_another, 120, f"{count} more readings")
