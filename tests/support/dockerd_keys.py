"""The keys of daemon.json that dockerd 28 knows. Source: moby's daemon/config."""

from __future__ import annotations

KEYS = frozenset(
    """
    allow-direct-routing allow-nondistributable-artifacts api-cors-header authorization-plugins
    bip bip6 bridge bridge-accept-fwmark builder cdi-spec-dirs cgroup-parent containerd
    containerd-namespace containerd-plugin-namespace cpu-rt-period cpu-rt-runtime cri-containerd
    data-root debug default-address-pools default-cgroupns-mode default-gateway
    default-gateway-v6 default-init default-ipc-mode default-network-opts default-runtime
    default-shm-size default-ulimits deprecated-key-path dns dns-opts dns-search exec-opts
    exec-root experimental features firewall-backend fixed-cidr fixed-cidr-v6 group
    host-gateway-ip host-gateway-ips hosts icc init init-path insecure-registries ip ip-forward
    ip-forward-no-drop ip-masq ip6tables iptables ipv6 labels live-restore log-driver log-format
    log-level log-opts max-concurrent-downloads max-concurrent-uploads max-download-attempts
    metrics-addr mtu network-control-plane-mtu network-diagnostic-port no-new-privileges
    node-generic-resources oom-score-adjust pidfile proxies raw-logs registry-mirrors resolv-conf
    rootless runtimes seccomp-profile selinux-enabled shutdown-timeout storage-driver
    storage-opts swarm-default-advertise-addr swarm-raft-election-tick swarm-raft-heartbeat-tick
    tls tlscacert tlscert tlskey tlsverify userland-proxy userland-proxy-path userns-remap
    """.split()
)
