"""The bridge as its unit runs it: `python -I -m reconciler.bridge`."""

from reconciler.adapters.lean import leave_out_rich


def main() -> None:
    """Run one bridge."""
    leave_out_rich()
    from reconciler.bridge import run

    run.main()


if __name__ == "__main__":
    main()
