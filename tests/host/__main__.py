"""What `./dev shell` and `./dev demo` run: a throwaway host for people."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

from tests.host.audio_demo import audio_demo
from tests.host.demo import demo
from tests.host.host import HostError, remove_leftovers
from tests.host.image import installed_image
from tests.host.installed import installed_host
from tests.host.spira_demo import spira_demo

# ruff: noqa: T201 - it talks to people


def shell() -> int:
    """Boot a host with the product and give a root shell in it; all of it goes away with the shell."""
    print("installs the product into a throwaway host (a minute the first time) …", flush=True)
    with installed_image() as image, installed_host(image, "shell") as host:
        print(f"booted in {host.boot_seconds:.1f} s. Its registry is set to http://127.0.0.1:{host.registry_port},")
        print(
            f"models get ports from {host.ports.model_range[0]}; the checkout is /srv/mlflow-systemd. Leave with exit."
        )
        return subprocess.run([*host.enter(), "bash", "-l"], check=False).returncode


def main() -> int:
    """Run the command that ./dev was given."""
    parser = argparse.ArgumentParser(prog="./dev")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("shell", help=shell.__doc__)
    demo_parser = commands.add_parser("demo", help="the whole path, from install to a prediction")
    demo_parser.add_argument("--keep", action="store_true", help="leave the host running until Ctrl-C")
    demo_parser.add_argument(
        "--audio",
        nargs="?",
        type=Path,
        const=True,
        metavar="WAV",
        help="serve examples/voice, which uses librosa and soundfile, and ask it with this recording (or a made one)",
    )
    demo_parser.add_argument("--spira", action="store_true", help="two models over NATS, with a broker and a store")
    commands.add_parser("clean", help="remove what killed hosts left (done at every start as well)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what was mounted is unmounted
    try:
        if arguments.command == "clean":
            remove_leftovers()
            return 0
        if arguments.command == "demo" and arguments.audio:
            recording = arguments.audio if isinstance(arguments.audio, Path) else None
            audio_demo(keep=arguments.keep, recording=recording)
            return 0
        if arguments.command == "demo" and arguments.spira:
            spira_demo(keep=arguments.keep)
            return 0
        if arguments.command == "demo":
            demo(keep=arguments.keep)
            return 0
        return shell()
    except HostError as error:
        print(f"cannot go on: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
