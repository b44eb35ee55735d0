"""The units and settings of the programs that make a node a cluster, as texts."""

import json
from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass

from tests.kubernetes.network import Network

PROGRAMS = "/opt/kubernetes"
"""Where the binaries are bound in the node."""
SETTINGS = "/etc/kubernetes"
NODE = "node"
"""What the node is called in the cluster."""
SANDBOX_IMAGE = "localhost/pause:latest"
API_PORT = 6443
USERS = {
    "controller-manager": ("system:kube-controller-manager", ""),
    "scheduler": ("system:kube-scheduler", ""),
    "kubelet": (f"system:node:{NODE}", "system:nodes"),
    "proxy": ("system:kube-proxy", ""),
    "admin": ("admin", "system:masters"),
}
"""Who has a kubeconfig: the user and the group that the API server takes them for."""
_UNIT = """[Unit]
Description={name} of the test cluster
StartLimitIntervalSec=0

[Service]
Type={kind}
ExecStart={command}
Restart=always
RestartSec=1
Delegate=yes
KillMode=process
LimitNOFILE=1048576
UMask={umask}
"""


@dataclass(frozen=True)
class Node:
    """What the texts depend on: the network, and below which control group the kubelet makes those of pods."""

    network: Network
    cgroup: str


def units(node: Node) -> Iterator[tuple[str, str]]:
    """Give the name and the text of every unit, in the order of their start."""
    certificates = f"{SETTINGS}/certificates"
    yield _unit("etcd", ["/usr/bin/etcd", "--data-dir=/run/etcd", "--logger=zap", "--log-level=warn"])
    yield _unit("containerd", ["/usr/bin/containerd", f"--config={SETTINGS}/containerd.toml"], kind="notify")
    yield _unit(
        "kube-apiserver",
        [
            f"{PROGRAMS}/kube-apiserver",
            "--etcd-servers=http://127.0.0.1:2379",
            f"--advertise-address={node.network.node}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={certificates}/api.pem",
            f"--tls-private-key-file={certificates}/api.pem",
            f"--client-ca-file={certificates}/ca.pem",
            f"--kubelet-certificate-authority={certificates}/ca.pem",
            f"--kubelet-client-certificate={certificates}/admin.pem",
            f"--kubelet-client-key={certificates}/admin.pem",
            "--kubelet-preferred-address-types=InternalIP",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={node.network.services}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={certificates}/accounts.pem",
            f"--service-account-signing-key-file={certificates}/accounts.pem",
            "--feature-gates=TTLAfterFinished=true",
        ],
        kind="notify",
    )
    yield _unit(
        "kube-controller-manager",
        [
            f"{PROGRAMS}/kube-controller-manager",
            f"--kubeconfig={SETTINGS}/controller-manager.json",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={certificates}/accounts.pem",
            f"--root-ca-file={certificates}/ca.pem",
            "--enable-hostpath-provisioner=true",
            "--leader-elect=false",
            "--feature-gates=TTLAfterFinished=true",
        ],
        umask="0000",  # the provisioner makes its directories open to all, as it must for users who are not root
    )
    scheduler = [f"{PROGRAMS}/kube-scheduler", f"--kubeconfig={SETTINGS}/scheduler.json", "--leader-elect=false"]
    yield _unit("kube-scheduler", scheduler)
    yield _unit(
        "kubelet",
        [
            f"{PROGRAMS}/kubelet",
            f"--config={SETTINGS}/kubelet.yaml",
            f"--kubeconfig={SETTINGS}/kubelet.json",
            f"--hostname-override={NODE}",
            f"--node-ip={node.network.node}",
            "--container-runtime=remote",
            "--container-runtime-endpoint=unix:///run/containerd/containerd.sock",
        ],
    )
    yield _unit("kube-proxy", [f"{PROGRAMS}/kube-proxy", f"--config={SETTINGS}/proxy.yaml"])


def _unit(name: str, command: list[str], *, kind: str = "exec", umask: str = "0022") -> tuple[str, str]:
    return f"{name}.service", _UNIT.format(name=name, command=" ".join(command), kind=kind, umask=umask)


def settings(node: Node) -> Iterator[tuple[str, str]]:
    """Give the path and the text of every file of settings."""
    yield f"{SETTINGS}/containerd.toml", _CONTAINERD
    yield "/etc/cni/net.d/10-bridge.conflist", json.dumps(_bridge(node.network))
    # Names are looked up nowhere, and that is told at once; nobody waits for a server that is out of reach.
    yield f"{SETTINGS}/resolv.conf", "nameserver 127.0.0.1\n"
    kubelet = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": f"{SETTINGS}/certificates/ca.pem"},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": f"{SETTINGS}/certificates/node.pem",
        "tlsPrivateKeyFile": f"{SETTINGS}/certificates/node.pem",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": node.cgroup,
        "resolvConf": f"{SETTINGS}/resolv.conf",
        "failSwapOn": False,
        # The disk is the machine's: how full that is says nothing of the cluster.
        "evictionHard": {"imagefs.available": "0%", "nodefs.available": "0%", "nodefs.inodesFree": "0%"},
        "imageGCHighThresholdPercent": 100,
    }
    yield f"{SETTINGS}/kubelet.yaml", json.dumps(kubelet)
    proxy = {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": f"{SETTINGS}/proxy.json"},
        "hostnameOverride": NODE,
        "bindAddress": node.network.node,
        "mode": "iptables",
        "clusterCIDR": node.network.pods,
        # These would be settings of the machine's kernel.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }
    yield f"{SETTINGS}/proxy.yaml", json.dumps(proxy)


_CONTAINERD = f"""version = 2
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{SANDBOX_IMAGE}"
disable_apparmor = true
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = "/etc/cni/net.d"
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false
"""


def _bridge(network: Network) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": "cni0",
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "ranges": [[{"subnet": network.pods}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": "bridge", "plugins": [bridge, ports]}


def kubeconfig(address: str, certificate_authority: bytes, certificate: bytes) -> str:
    """Give the text of a kubeconfig with everything in it; `certificate` is that of a user, with its key (PEM)."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [
                {
                    "name": "test",
                    "cluster": {
                        "server": f"https://{address}:{API_PORT}",
                        "certificate-authority-data": _base64(certificate_authority),
                    },
                }
            ],
            "users": [
                {
                    "name": "user",
                    "user": {
                        "client-certificate-data": _base64(certificate),
                        "client-key-data": _base64(certificate),
                    },
                }
            ],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
            "current-context": "test",
        }
    )


def _base64(content: bytes) -> str:
    return b64encode(content).decode()


STORAGE_CLASS = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {
        "name": "standard",
        "annotations": {"storageclass.kubernetes.io/is-default-class": "true"},
    },
    "provisioner": "kubernetes.io/host-path",
}
"""Volumes are directories of the node, made when a claim asks for one and deleted with it."""
