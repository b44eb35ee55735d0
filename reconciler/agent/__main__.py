"""The agent as its unit runs it: `python -I -m reconciler.agent`.

Without the command `reconciler`, whose other parts would stay in its memory. Exit code 2: the settings are wrong.
"""

import sys

from reconciler.adapters.lean import leave_out_rich


def main() -> None:
    """Run the agent by this host's settings."""
    leave_out_rich()
    from reconciler.agent.poll import run_agent
    from reconciler.settings.load import SettingsError, load

    try:
        settings = load(None)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201 - systemd puts it into the journal
        sys.exit(2)
    run_agent(settings)


if __name__ == "__main__":
    main()
