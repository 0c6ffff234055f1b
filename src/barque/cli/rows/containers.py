"""The columns of ``ps`` (wire: ContainerSummary of the Engine API)."""

from __future__ import annotations

from barque.cli.listing import Listing, ellipsis, join_labels, quote_go, truncate_id
from barque.cli.rows.references import familiar, strip_digest
from barque.cli.units import age, format_local_time, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class ContainerRow:
    """One container of the list; ``truncate`` shortens what is long."""

    __slots__ = ("summary", "truncate")

    def __init__(self, summary: dict[str, Any], *, truncate: bool) -> None:
        self.summary = summary
        self.truncate = truncate

    def id(self) -> str:
        """The id, twelve characters of it when truncated."""
        full = str(self.summary.get("Id", ""))
        return truncate_id(full) if self.truncate else full

    def names(self) -> str:
        """The name; with all aliases of links when not truncated."""
        names = [name.removeprefix("/") for name in self.summary.get("Names") or ()]
        if not self.truncate:
            return ",".join(names)
        return next((name for name in names if "/" not in name), "")

    def image(self) -> str:
        """The image as named at creation; its id if the name has moved on."""
        image = str(self.summary.get("Image", ""))
        if not image:
            return "<no image>"
        if not self.truncate:
            return image
        short = truncate_id(str(self.summary.get("ImageID", "")))
        if short == truncate_id(image):
            return short
        return familiar(strip_digest(image)) if "@" in image or "/" in image else image

    def command(self) -> str:
        """The command line in quotes."""
        command = str(self.summary.get("Command", ""))
        return quote_go(ellipsis(command, 20) if self.truncate else command)

    def created_at(self) -> str:
        """2026-11-23 23:15:57 +0000 UTC"""
        return format_local_time(int(self.summary.get("Created") or 0))

    def running_for(self) -> str:
        """5 minutes ago"""
        return age(int(self.summary.get("Created") or 0))

    def ports(self) -> str:
        """0.0.0.0:80->80/tcp, 443/tcp"""
        return show_ports(self.summary.get("Ports") or [])

    def state(self) -> str:
        """running, exited, ..."""
        return str(self.summary.get("State", ""))

    def status(self) -> str:
        """Up 5 minutes (healthy)"""
        return str(self.summary.get("Status", ""))

    def size(self) -> str:
        """2B (virtual 21.5MB)"""
        written = human_size(self.summary.get("SizeRw") or 0, 3)
        whole = self.summary.get("SizeRootFs") or 0
        return f"{written} (virtual {human_size(whole, 3)})" if whole > 0 else written

    def labels(self) -> str:
        """k=v,k2=v2"""
        return join_labels(self.summary.get("Labels"))

    def label(self, key: str) -> str:
        """The value of one label."""
        return str((self.summary.get("Labels") or {}).get(key, ""))

    def mounts(self) -> str:
        """Names of volumes and sources of binds."""
        names = [
            str(mount.get("Name") or mount.get("Source", ""))
            for mount in self.summary.get("Mounts") or ()
        ]
        return ",".join(ellipsis(name, 15) if self.truncate else name for name in names)

    def local_volumes(self) -> str:
        """How many mounts are volumes of the local driver."""
        mounts = self.summary.get("Mounts") or ()
        return str(sum(mount.get("Driver") == "local" for mount in mounts))

    def networks(self) -> str:
        """Names of the networks."""
        settings = self.summary.get("NetworkSettings") or {}
        return ",".join(settings.get("Networks") or ())

    def platform(self) -> str | None:
        """linux/amd64, where the engine says so."""
        descriptor = self.summary.get("ImageManifestDescriptor") or {}
        platform = descriptor.get("platform")
        if not platform:
            return None
        parts = (platform.get(part) for part in ("os", "architecture", "variant"))
        return "/".join(part for part in parts if part)

    def health_status(self) -> str:
        """healthy, unhealthy, starting or nothing."""
        health = (self.summary.get("Health") or {}).get("Status", "")
        if health:
            return "" if health == "none" else str(health)
        status = self.status()
        word = status.partition("(")[2].removesuffix(")").removeprefix("health: ")
        return word if word in ("healthy", "unhealthy", "starting") else ""


CONTAINERS = Listing(
    "*formatter.ContainerContext",
    {
        "Command": ("COMMAND", ContainerRow.command),
        "CreatedAt": ("CREATED AT", ContainerRow.created_at),
        "HealthStatus": ("HEALTH STATUS", ContainerRow.health_status),
        "ID": ("CONTAINER ID", ContainerRow.id),
        "Image": ("IMAGE", ContainerRow.image),
        "Labels": ("LABELS", ContainerRow.labels),
        "LocalVolumes": ("LOCAL VOLUMES", ContainerRow.local_volumes),
        "Mounts": ("MOUNTS", ContainerRow.mounts),
        "Names": ("NAMES", ContainerRow.names),
        "Networks": ("NETWORKS", ContainerRow.networks),
        "Platform": ("PLATFORM", ContainerRow.platform),
        "Ports": ("PORTS", ContainerRow.ports),
        "RunningFor": ("CREATED", ContainerRow.running_for),
        "Size": ("SIZE", ContainerRow.size),
        "State": ("STATE", ContainerRow.state),
        "Status": ("STATUS", ContainerRow.status),
    },
    {"Label": ContainerRow.label},
)

DEFAULT = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")

RAW = """container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
"""


def join_host_port(host: str, port: object) -> str:
    """host:port, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def show_ports(ports: list[dict[str, Any]]) -> str:
    """Ports in order; consecutive ones that are published unchanged are one range."""
    if not ports:
        return ""
    groups: dict[str, list[int]] = {}
    shown: list[str] = []
    mapped: list[str] = []
    for port in sorted(ports, key=_port_order):
        private = int(port["PrivatePort"])
        address = str(port.get("IP") or "")
        kind = str(port.get("Type", ""))
        public = int(port.get("PublicPort") or 0)
        key = kind
        if address:
            if public != private:
                mapped.append(f"{join_host_port(address, public)}->{private}/{kind}")
                continue
            key = f"{address}/{kind}"
        group = groups.get(key)
        if group is None:
            groups[key] = [private, private]
        elif private == group[1] + 1:
            group[1] = private
        else:
            shown.append(_show_group(key, group))
            groups[key] = [private, private]
    shown += [_show_group(key, group) for key, group in groups.items()]
    return ", ".join(shown + mapped)


def _port_order(port: dict[str, Any]) -> tuple[int, str, int, str]:
    return (
        int(port["PrivatePort"]),
        str(port.get("IP") or ""),
        int(port.get("PublicPort") or 0),
        str(port.get("Type", "")),
    )


def _show_group(key: str, group: list[int]) -> str:
    address, _, kind = key.rpartition("/")
    text = str(group[0]) if group[0] == group[1] else f"{group[0]}-{group[1]}"
    if address:
        text = f"{join_host_port(address, text)}->{text}"
    return f"{text}/{kind}"
