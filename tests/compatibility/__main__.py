"""`python -m tests.compatibility [NAME …]`: try packages out and write the results into docs/compatibility.md.

Without names it tries all of tests/compatibility/cases.py, which takes most of an hour. It needs root and some 20 GB.
"""

import argparse
import os
import signal
import sys
from datetime import UTC, datetime
from subprocess import TimeoutExpired

import httpx

from tests.compatibility import table
from tests.compatibility.cases import CASES
from tests.compatibility.places import trial_site
from tests.compatibility.trial import Measured, TrialError, try_out
from tests.host import HostError, installed_image, why_no_host
from tests.system.site import PYTHON, Site

NAMES = [case.name for case in CASES]


def machine(site: Site) -> str:
    """One sentence about what it is measured on."""
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    system = site.host.output(". /etc/os-release; echo $PRETTY_NAME")
    systemd = site.host.output("systemctl --version | head -n1 | cut -d' ' -f1,2")
    versions = "import sys, mlflow; print(f'Python {sys.version.split()[0]}, MLflow {mlflow.__version__}')"
    software = f"{system}, {systemd}, {site.host.output([PYTHON, '-c', versions])}"
    day = f"{datetime.now(UTC):%Y-%m-%d}"
    return f"Measured on {day} on one machine with {os.cpu_count()} CPUs and {gib:.0f} GiB of memory: {software}."


def main() -> int:
    """Run the trials one after the other; the table has each result as soon as it is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.compatibility", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(NAMES)}; all without")
    chosen = parser.parse_args().names or NAMES
    if unknown := set(chosen) - set(NAMES):
        parser.error(f"there is no case {', '.join(sorted(unknown))}")
    if reason := why_no_host():
        parser.error(f"cannot boot a host: {reason}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was mounted is unmounted
    failed = False
    with installed_image() as image, trial_site(image) as site:
        for case in (case for case in CASES if case.name in chosen):
            result: Measured | str
            try:
                result = try_out(site, case)
            except (TrialError, HostError, TimeoutExpired, httpx.HTTPError) as error:
                # The journal of the host may follow.
                result, failed = str(error).partition("\n")[0], True
            sys.stdout.write(f"{case.name}: {result}\n")
            sys.stdout.flush()
            table.write(machine(site), {case.name: result}, NAMES)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
