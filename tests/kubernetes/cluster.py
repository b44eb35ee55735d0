"""A real Kubernetes of one node, booted inside a throwaway host, with a network of its own.

with cluster.booted() as it:
    it.kubectl("get", "nodes")
    reference = it.import_image(archive)
"""

import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.host import Host, HostError
from tests.host.cgroup import CGROUP_ROOT, LIMITING_V1, HostCgroups
from tests.host.host import BASE
from tests.kubernetes import units
from tests.kubernetes.network import Network, network
from tests.tls import Authority

BINARIES = Path("/var/tmp/kubernetes-1.20")  # noqa: S108 - root's, made by build.sh
BUILT = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl", "pause.tar")
"""What build.sh makes."""
PACKAGED = {
    "etcd": "etcd-server",
    "containerd": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "conntrack": "conntrack",
    "/usr/lib/cni/bridge": "containernetworking-plugins",
}
"""Programs of Debian, by their packages."""
BOOT_SECONDS = 300
_KEYRING = "--system-call-filter=@keyring"
_STORED = {"containerd": "/var/lib/containerd", "kubelet": "/var/lib/kubelet", "volumes": "/var/lib/volumes"}
"""What is on this machine's disk: an overlay in an overlay would copy every layer of an image."""
# Where the provisioner makes its directories; nspawn's own /tmp is in memory.
_VOLUMES = "/tmp/hostpath_pv"  # noqa: S108 - of the node
# The kubelet wants these values of the machine's kernel, and is shown that they are set already.
_KERNEL = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}


def missing(binaries: Path = BINARIES) -> str | None:
    """None if a cluster can be booted here, else what is missing and how to get it."""
    if not all((binaries / name).is_file() for name in BUILT):
        return f"{binaries} is incomplete; run tests/kubernetes/build.sh {binaries}"
    packages = [package for program, package in PACKAGED.items() if shutil.which(program) is None]
    if packages:
        return f"Debian packages are missing; run apt-get install --no-install-recommends {' '.join(packages)}"
    if not (CGROUP_ROOT / "cpuset/cgroup.procs").exists():
        return "this machine has no control groups of version 1"
    return None


@dataclass(frozen=True)
class Cluster:
    """A cluster that is up."""

    node: Host
    network: Network
    kubeconfig: Path
    """An administrator's, for this machine."""
    binaries: Path

    @property
    def address(self) -> str:
        """The node's address, as this machine reaches it: the API server and the ports of nodes are there."""
        return self.network.node

    @property
    def outside(self) -> str:
        """This machine's address, as pods reach it."""
        return self.network.outside

    def kubectl(self, *arguments: str, stdin: str = "", check: bool = True, timeout: float = 60) -> str:
        """What kubectl prints as administrator; HostError when `check` and it fails."""
        done = subprocess.run(
            [str(self.binaries / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check and done.returncode:
            raise HostError(f"`kubectl {' '.join(arguments)}` ended with {done.returncode}:\n{done.stderr}")
        return done.stdout

    def import_image(self, archive: Path) -> str:
        """Import an OCI archive with one named image; gives its reference with digest, usable in a pod."""
        with tarfile.open(archive) as opened:
            index = opened.extractfile("index.json")
            assert index is not None
            manifest = json.load(index)["manifests"][0]
        tagged = manifest["annotations"]["org.opencontainers.image.ref.name"]
        reference = f"{tagged.rpartition(':')[0]}@{manifest['digest']}"
        images = ["ctr", "--namespace=k8s.io", "images"]
        with archive.open("rb") as content:
            done = subprocess.run(
                [*self.node.enter(), *images, "import", "--no-unpack", "-"],
                stdin=content,
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        if done.returncode:
            raise HostError(f"cannot import {archive}: {done.stderr}")
        self.node.run([*images, "tag", "--force", tagged, reference])
        # The part of containerd that pods ask hears of an image a little later than this.
        usable = f'name=="{reference}",labels."io.cri-containerd.image"==managed'
        listed = [*images, "list", "--quiet", usable]
        self.node.wait_for(lambda: self.node.output(listed), 60, f"{reference} to be usable in pods")
        return reference


@contextmanager
def booted(binaries: Path = BINARIES) -> Iterator[Cluster]:
    """Boot a cluster, and remove all of it in the end."""
    with network() as net, _storage(net) as options:
        binds = (f"--bind-ro={binaries}:{units.PROGRAMS}", *options, net.option, _KEYRING)
        host = Host("cluster", nspawn_options=binds)
        node = units.Node(net, f"/test-cluster-{net.number}")
        outside = _groups_outside(node.cgroup.lstrip("/"))
        outside.remove()  # what a killed process left
        kubeconfig = _write_everything(host, node)
        try:
            with host:
                _prepare(host, node)
                cluster = Cluster(host, net, kubeconfig, binaries)
                _start(cluster, node)
                yield cluster
        finally:
            outside.remove()


@contextmanager
def _storage(net: Network) -> Iterator[tuple[str, ...]]:
    BASE.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory = BASE / f"cluster-{net.number}"
    shutil.rmtree(directory, ignore_errors=True)  # what a killed process left
    try:
        for name in _STORED:
            (directory / name).mkdir(parents=True)
        yield tuple(f"--bind={directory / name}:{place}" for name, place in _STORED.items())
    finally:
        shutil.rmtree(directory)


def _groups_outside(name: str) -> HostCgroups:
    """The groups of pods that are not below the host's own, in the hierarchies of which the host has none."""
    found = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and "=" not in controllers and controllers not in LIMITING_V1:
            found.append(CGROUP_ROOT / controllers / path.lstrip("/") / name)
    return HostCgroups(tuple(found))


def _write_everything(host: Host, node: units.Node) -> Path:
    """Write units, settings, certificates and kubeconfigs into a host before its boot; gives the administrator's."""
    for name, text in units.units(node):
        host.write(f"/etc/systemd/system/{name}", text)
    for path, text in units.settings(node):
        host.write(path, text)
    certificates = host.root / f"{units.SETTINGS}/certificates".lstrip("/")
    authority = Authority(certificates)
    names = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local")
    authority.issue("api", node.network.node, node.network.api_service, "127.0.0.1", *names)
    authority.issue("node", node.network.node, units.NODE)
    authority.issue("accounts")
    for name, (user, group) in units.USERS.items():
        issued = authority.issue(user, organization=group).rename(certificates / f"{name}.pem")
        text = units.kubeconfig(node.network.node, authority.pem.read_bytes(), issued.read_bytes())
        host.write(f"{units.SETTINGS}/{name}.json", text, 0o600)
    return host.root / f"{units.SETTINGS}/admin.json".lstrip("/")


def _prepare(host: Host, node: units.Node) -> None:
    """Give the node what nspawn keeps from a host: control groups, its network's settings, and shared mounts."""
    controllers = [one.name for one in CGROUP_ROOT.iterdir() if (one / "cgroup.procs").exists() and one.is_dir()]
    lines = [
        "mount --make-rshared /",
        *(f"mount -o remount,bind,rw {CGROUP_ROOT / one}" for one in (".", *controllers)),
        *(f"mkdir -p {CGROUP_ROOT / one}{node.cgroup}" for one in controllers),
        f"cd {CGROUP_ROOT}/cpuset; for one in cpus mems; do cat cpuset.$one >{node.cgroup[1:]}/cpuset.$one; done",
        "mount --bind /proc/sys/net /proc/sys/net",
        "mount -o remount,bind,rw /proc/sys/net",
        "mkdir -p /run/kernel",
        f"mkdir -p {_VOLUMES}",
        f"mount --bind {_STORED['volumes']} {_VOLUMES}",
        "ln -s null /dev/kmsg",  # the kubelet reads the kernel's messages, which are this machine's
    ]
    for number, (name, value) in enumerate(_KERNEL.items()):
        lines += [f"echo {value} >/run/kernel/{number}", f"mount --bind /run/kernel/{number} /proc/sys/{name}"]
    host.run("\n".join(lines))


def _start(cluster: Cluster, node: units.Node) -> None:
    host = cluster.node
    names = [name for name, _ in units.units(node)]
    try:
        host.run(["systemctl", "start", "--no-block", *names])
        host.wait_for_unit("containerd.service", deadline=BOOT_SECONDS)
        with (cluster.binaries / "pause.tar").open("rb") as content:
            importing = [*host.enter(), "ctr", "--namespace=k8s.io", "images", "import", "-"]
            subprocess.run(importing, stdin=content, check=True, capture_output=True, timeout=120)
        _wait(cluster, "the API server", "get", "--raw=/readyz")
        cluster.kubectl("apply", "--filename=-", stdin=json.dumps(units.STORAGE_CLASS))
        _wait(cluster, "the account of pods", "get", "serviceaccount", "default")
        _wait(cluster, "the node", "wait", "--for=condition=Ready", f"node/{units.NODE}", "--timeout=1s")
    except (HostError, subprocess.SubprocessError) as error:
        journals = f"== fatal\n{host.journal('--grep=^F[0-9]{4} ', '--lines=5')}\n"
        journals += "\n".join(f"== {name}\n{host.journal(f'--unit={name}', '--lines=30')}" for name in names)
        raise HostError(f"cannot start a cluster: {error}\n{journals}") from error


def _wait(cluster: Cluster, what: str, *arguments: str) -> None:
    cluster.node.wait_for(
        lambda: cluster.kubectl(*arguments, check=False), BOOT_SECONDS, f"{what} to be ready", interval=0.5
    )
