"""The columns of ``network ls`` (wire: Network of the Engine API)."""

from __future__ import annotations

from barque.cli.listing import Listing, join_labels, truncate_id
from barque.cli.units import format_go_time, parse_rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class NetworkRow:
    """One network of the list."""

    __slots__ = ("network", "truncate")

    def __init__(self, network: dict[str, Any], *, truncate: bool) -> None:
        self.network = network
        self.truncate = truncate

    def id(self) -> str:
        """The id, twelve characters of it when truncated."""
        full = str(self.network.get("Id", ""))
        return truncate_id(full) if self.truncate else full

    def text(self, key: str) -> str:
        """A member that is text."""
        return str(self.network.get(key) or "")

    def flag(self, key: str) -> str:
        """A member that is true or false."""
        return "true" if self.network.get(key) else "false"

    def labels(self) -> str:
        """k=v,k2=v2"""
        return join_labels(self.network.get("Labels"))

    def label(self, key: str) -> str:
        """The value of one label."""
        return str((self.network.get("Labels") or {}).get(key, ""))

    def created_at(self) -> str:
        """2026-11-23 23:15:57.123 +0000 UTC"""
        return format_go_time(*parse_rfc3339(self.text("Created") or "0001-01-01T00:00:00Z"))


NETWORKS = Listing(
    "*network.networkContext",
    {
        "CreatedAt": ("CREATED AT", NetworkRow.created_at),
        "Driver": ("DRIVER", lambda row: row.text("Driver")),
        "ID": ("NETWORK ID", NetworkRow.id),
        "IPv4": ("IPV4", lambda row: row.flag("EnableIPv4")),
        "IPv6": ("IPV6", lambda row: row.flag("EnableIPv6")),
        "Internal": ("INTERNAL", lambda row: row.flag("Internal")),
        "Labels": ("LABELS", NetworkRow.labels),
        "Name": ("NAME", lambda row: row.text("Name")),
        "Scope": ("SCOPE", lambda row: row.text("Scope")),
    },
    {"Label": NetworkRow.label},
)

DEFAULT = ("ID", "Name", "Driver", "Scope")

RAW = "network_id: {{.ID}}\nname: {{.Name}}\ndriver: {{.Driver}}\nscope: {{.Scope}}\n"
