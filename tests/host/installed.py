"""Hosts that boot with the product installed and with settings of their own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from tests.host.host import Host
from tests.host.layers import Layers

DROP_IN = "/etc/mlflow-reconciler/config.d/50-test-host.toml"


@contextmanager
def installed_host(
    image: Layers,
    name: str = "host",
    *,
    settings: str = "",
    private_network: bool = False,
    nspawn_options: Sequence[str] = (),
) -> Iterator[Host]:
    """Boot a host from `installed_image`, set to ports that are free on this machine.

    `settings`: the text of another drop-in, TOML, that wins. The registry it looks at is at `host.registry_port`.
    """
    host = Host(name, base=image, private_network=private_network, nspawn_options=nspawn_options)
    configure(host, settings)
    with host:
        yield host


def configure(host: Host, settings: str = "") -> None:
    """Write the drop-ins of `installed_host`; also before the product is installed."""
    low, high = host.ports.model_range
    host.write(
        DROP_IN,
        f"[registry]\nuri = 'http://127.0.0.1:{host.registry_port}'\npoll_interval = 1\n"
        f"[deploy]\nport_range = [{low}, {high}]\nsoak = 2\nremoval_grace = 0\n"
        "[fetch]\nkeep_free = '64M'\n[policy]\nnames = ['*']\n",
    )
    if settings:
        host.write("/etc/mlflow-reconciler/config.d/60-test.toml", settings)
