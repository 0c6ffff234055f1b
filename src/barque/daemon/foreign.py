"""Keys of dockerd's daemon.json that barque does not serve, and what it says to them.

A file that was written for dockerd is taken as far as its meaning is kept. A key whose being
ignored changes nothing that anybody relies on gives a warning; one that somebody relies on
(for safety, or for a network to be as drawn) is refused. A value that is what barque does
anyway needs no words.

Source: dockerd's daemon/config (version 28) and its reference of daemon.json.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from barque.errors import InvalidArgument


class Foreign(NamedTuple):
    """What is said to a key: ``why`` ends the sentence "KEY: …". ``fine`` needs no words."""

    state: Literal["warned", "refused"]
    why: str
    fine: tuple[Any, ...] = ()


_NO_CONTAINERD = "barque has its own images and tasks, and needs no containerd"
_NO_SWARM = "barque has no swarm"
_NO_IPV6 = "the default network of barque has no IPv6: make a network with --ipv6"
_NFTABLES = "barque has a table of its own in nftables, and no iptables rules"

FOREIGN: dict[str, Foreign] = {
    "allow-direct-routing": Foreign("refused", "not implemented yet: leave it out", (False,)),
    "allow-nondistributable-artifacts": Foreign("warned", "dockerd has no use for it, either"),
    "api-cors-header": Foreign("refused", "no CORS headers are sent: use a proxy for that", ("",)),
    "authorization-plugins": Foreign(
        "refused", "there are no plugins: who may talk to the socket may do all", ([],)
    ),
    "bip6": Foreign("refused", _NO_IPV6, ("",)),
    "bridge-accept-fwmark": Foreign("refused", "not implemented yet: leave it out", ("",)),
    "builder": Foreign("warned", "there is no build cache yet that could be collected", ({},)),
    "cdi-spec-dirs": Foreign("warned", "CDI devices are not implemented yet", ([],)),
    "containerd": Foreign("warned", _NO_CONTAINERD, ("",)),
    "containerd-namespace": Foreign("warned", _NO_CONTAINERD, ("",)),
    "containerd-plugin-namespace": Foreign("warned", _NO_CONTAINERD, ("",)),
    "cpu-rt-period": Foreign("refused", "give --cpu-rt-period to containers", (0,)),
    "cpu-rt-runtime": Foreign("refused", "give --cpu-rt-runtime to containers", (0,)),
    "cri-containerd": Foreign("refused", _NO_CONTAINERD, (False,)),
    "default-gateway": Foreign("refused", "not implemented yet: use bip", ("",)),
    "default-gateway-v6": Foreign("refused", _NO_IPV6, ("",)),
    "default-init": Foreign("warned", "the init is barque's own, no program", ("",)),
    "default-network-opts": Foreign("refused", "give the options to docker network create", ({},)),
    "deprecated-key-path": Foreign("warned", "dockerd has no use for it, either"),
    "exec-opts": Foreign(
        "refused", "control groups are barque's own", ([], ["native.cgroupdriver=cgroupfs"])
    ),
    "experimental": Foreign("warned", "there are no experimental features", (False,)),
    "features": Foreign("warned", "there are no features to be switched", ({},)),
    "firewall-backend": Foreign("refused", _NFTABLES, ("", "nftables")),
    "fixed-cidr-v6": Foreign("refused", _NO_IPV6, ("",)),
    "init-path": Foreign("warned", "the init is barque's own, no program", ("",)),
    "ip-forward-no-drop": Foreign("warned", "barque never sets the policy to drop", (True,)),
    "ip6tables": Foreign("refused", _NFTABLES, (True,)),
    "iptables": Foreign("refused", _NFTABLES, (True,)),
    "ipv6": Foreign("refused", _NO_IPV6, (False,)),
    "live-restore": Foreign("warned", "containers always outlive the engine", (True,)),
    "log-format": Foreign("refused", "the engine's log is text", ("", "text")),
    "metrics-addr": Foreign("refused", "metrics are not implemented yet: leave it out", ("",)),
    "network-control-plane-mtu": Foreign("warned", _NO_SWARM, (0, 1500)),
    "network-diagnostic-port": Foreign("refused", "there is no such service", (0,)),
    "node-generic-resources": Foreign("warned", _NO_SWARM, ([],)),
    "oom-score-adjust": Foreign("warned", "dockerd has no use for it, either", (0,)),
    "proxies": Foreign(
        "refused", "set HTTP_PROXY, HTTPS_PROXY and NO_PROXY in the engine's environment", ({},)
    ),
    "raw-logs": Foreign("warned", "the engine's log has no colours", (False, True)),
    "resolv-conf": Foreign("refused", "give dns, dns-opts and dns-search", ("",)),
    "rootless": Foreign("refused", "barque needs root", (False,)),
    "selinux-enabled": Foreign("refused", "SELinux labels are not implemented", (False,)),
    "shutdown-timeout": Foreign("warned", "containers outlive the engine", ()),
    "storage-opts": Foreign("refused", "barque's storage drivers have no options", ([],)),
    "swarm-default-advertise-addr": Foreign("warned", _NO_SWARM, ("",)),
    "swarm-raft-election-tick": Foreign("warned", _NO_SWARM, (0,)),
    "swarm-raft-heartbeat-tick": Foreign("warned", _NO_SWARM, (0,)),
    "userland-proxy": Foreign("warned", "ports are published without a proxy", (False,)),
    "userland-proxy-path": Foreign("warned", "ports are published without a proxy", ("",)),
}


def set_aside(contents: Mapping[str, Any], source: str) -> tuple[dict[str, Any], list[str]]:
    """Return a daemon.json without dockerd's other keys, and the warnings about them.

    Raises InvalidArgument for those that are refused, all of them in one message.
    """
    kept = {key: value for key, value in contents.items() if key not in FOREIGN}
    told = [
        (FOREIGN[key].state, f"{key}: {FOREIGN[key].why}")
        for key, value in contents.items()
        if key in FOREIGN and not any(_same(value, fine) for fine in FOREIGN[key].fine)
    ]
    if refused := [text for state, text in told if state == "refused"]:
        raise InvalidArgument(
            f"invalid configuration file {source}: not supported by barque: {'; '.join(refused)}"
        )
    return kept, [f"{source}: ignored: {text}" for _, text in told]


def _same(value: Any, fine: Any) -> bool:
    return type(value) is type(fine) and value == fine
