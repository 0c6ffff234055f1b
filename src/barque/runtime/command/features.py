"""``features``: what this runtime can do, for engines that ask before they try.

Source: runtime-spec features.md.
"""

from __future__ import annotations

import msgspec

from barque.cgroups import hierarchies
from barque.kernel.process import NAMESPACES
from barque.models import oci
from barque.runtime import capabilities, seccomp
from barque.runtime.mounts import OPTIONS


def features() -> dict[str, object]:
    """The features document: what is implemented, whether this host has it or not."""
    v1, v2 = hierarchies()
    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": "1.3.0",
        "hooks": [field.encode_name for field in msgspec.structs.fields(oci.Hooks)],
        "mountOptions": sorted(OPTIONS),
        "linux": {
            "namespaces": sorted(NAMESPACES),
            "capabilities": list(capabilities.known()),
            "cgroup": {
                "v1": bool(v1),
                "v2": bool(v2),
                "systemd": False,
                "systemdUser": False,
                "rdma": True,
            },
            "seccomp": {
                "enabled": True,
                "actions": seccomp.ACTIONS,
                "operators": seccomp.OPERATORS,
                "archs": seccomp.known_architectures(),
                "knownFlags": seccomp.FLAGS,
                "supportedFlags": seccomp.FLAGS,
            },
            "apparmor": {"enabled": True},
            "selinux": {"enabled": True},
            "intelRdt": {"enabled": True, "schemata": True, "monitoring": True},
            "mountExtensions": {"idmap": {"enabled": True}},
            "netDevices": {"enabled": True},
        },
        "annotations": {"io.github.seccomp.libseccomp.version": seccomp.libseccomp_version()},
        "potentiallyUnsafeConfigAnnotations": [],
    }
