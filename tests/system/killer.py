"""A hook of the reconciler that sends SIGKILL to a unit after the n-th action, and what to compare afterwards."""

from collections.abc import Iterable

from tests.system.site import Site

DIRECTORY = "/var/lib/kill"
HOOK = f"{DIRECTORY}/hook"
# It counts the actions itself: a reconciler that was killed begins again at 1.
HOOK_TEXT = f"""#!/bin/bash
cd {DIRECTORY}
count=$(( $(cat count) + 1 )); echo $count >count; echo "$2" >>actions
grep -qx "$count" at || exit 0
echo "$count $2" >>killed
for unit in $(cat whom); do systemctl kill --signal=KILL "$unit"; done
exit 0
"""
RECONCILER = "mlflow-reconciler.service"
AGENT = "mlflow-registry-agent.service"


class Killer:
    """Kills units of a site after some of the reconciler's actions."""

    def __init__(self, site: Site) -> None:
        """Have the site's reconciler tell the hook after each action."""
        self._host = site.host
        self.arm()
        self._host.write(HOOK, HOOK_TEXT, 0o755)
        for unit, more in {
            RECONCILER: f"ExecStart=\nExecStart=/opt/mlflow-reconciler/bin/reconciler run --after-action {HOOK}\n"
            f"ReadWritePaths={DIRECTORY}\n",
            AGENT: "",
        }.items():
            text = f"[Unit]\nStartLimitIntervalSec=0\n[Service]\nRestartSec=100ms\n{more}"
            self._host.write(f"/etc/systemd/system/{unit}.d/90-kill.conf", text)
        self._host.run(f"systemctl daemon-reload; systemctl restart {RECONCILER}", timeout=60)

    def arm(self, at: Iterable[int] = (), whom: str = RECONCILER) -> None:
        """Count from 1 again, and kill `whom` after each of the actions `at`."""
        numbers = "".join(f"{number}\n" for number in at)
        for name, text in {"at": numbers, "whom": whom, "killed": "", "actions": "", "count": "0"}.items():
            self._host.write(f"{DIRECTORY}/{name}", text)

    @property
    def actions(self) -> list[str]:
        """What was done since it was armed."""
        return self._host.read(f"{DIRECTORY}/actions").splitlines()

    @property
    def killed(self) -> dict[int, str]:
        """After which of them somebody was killed."""
        lines = [line.split(" ", 1) for line in self._host.read(f"{DIRECTORY}/killed").splitlines()]
        return {int(number): action for number, action in lines}


def state_of(site: Site) -> str:
    """What is compared: the unit files, what is enabled and what runs, the deploy directories, the ledger."""
    return site.host.output(
        "cd /etc/systemd/system; cat model-* mlflow-*@* | sort; ls -d model-* mlflow-*@* *.wants/*; "
        "systemctl list-units --plain --no-legend 'model-*' 'mlflow-*@*' | awk '{print $1, $2, $3}'; "
        "find /var/lib/mlflow-deploy -mindepth 2 -maxdepth 4 | grep -v /.incoming | sort; "
        "sed 's/[0-9]* of its first [0-9]* answers/some of its first answers/' /var/lib/mlflow-reconciler/ledger.json",
        timeout=60,
    )
