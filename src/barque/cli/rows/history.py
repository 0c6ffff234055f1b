"""The columns of ``history`` (wire: HistoryResponseItem of the Engine API)."""

from __future__ import annotations

from barque.cli.listing import Listing, ellipsis, truncate_id
from barque.cli.units import age, format_rfc3339_nano, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_EPOCH = 946684800  # 2000-01-01: what is older is not a date but a reproducible build


class HistoryRow:
    """One step of an image's history; ``human`` rounds dates and sizes."""

    __slots__ = ("human", "item", "truncate")

    def __init__(self, item: dict[str, Any], *, truncate: bool, human: bool) -> None:
        self.item = item
        self.truncate = truncate
        self.human = human

    def id(self) -> str:
        """The image of this step, or <missing>."""
        full = str(self.item.get("Id", ""))
        return truncate_id(full) if self.truncate else full

    def created_at(self) -> str:
        """RFC 3339 without fraction"""
        text = format_rfc3339_nano(int(self.item.get("Created") or 0) * 1_000_000_000)
        return text.replace(".000000000", "")

    def created_since(self) -> str:
        """3 weeks ago"""
        created = int(self.item.get("Created") or 0)
        if not self.human:
            return self.created_at()
        return "N/A" if created <= _EPOCH else age(created)

    def created_by(self) -> str:
        """The command of the step."""
        text = str(self.item.get("CreatedBy", "")).replace("\t", " ")
        return ellipsis(text, 45) if self.truncate else text

    def size(self) -> str:
        """What the step added."""
        size = int(self.item.get("Size") or 0)
        return human_size(size, 3) if self.human else str(size)


HISTORY = Listing(
    "*image.historyContext",
    {
        "Comment": ("COMMENT", lambda row: str(row.item.get("Comment", ""))),
        "CreatedAt": ("CREATED AT", HistoryRow.created_at),
        "CreatedBy": ("CREATED BY", HistoryRow.created_by),
        "CreatedSince": ("CREATED", HistoryRow.created_since),
        "ID": ("IMAGE", HistoryRow.id),
        "Size": ("SIZE", HistoryRow.size),
    },
)

DEFAULT = ("ID", "CreatedSince", "CreatedBy", "Size", "Comment")
DEFAULT_NOT_HUMAN = ("ID", "CreatedAt", "CreatedBy", "Size", "Comment")
