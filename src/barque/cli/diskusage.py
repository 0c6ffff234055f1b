"""``system df``: what takes space (Engine API: SystemDataUsage)."""

from __future__ import annotations

import sys

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.listing import Listing, render
from barque.cli.units import age, human_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_ALIVE = ("running", "paused", "restarting")


class Usage:
    """One line of the summary; sizes in bytes, ``reclaimable`` may show a percentage."""

    __slots__ = ("active", "kind", "reclaimable", "share", "size", "total")

    def __init__(
        self, kind: str, total: int, active: int, size: int, reclaimable: int, *, share: bool = True
    ) -> None:
        self.kind = kind
        self.total = total
        self.active = active
        self.size = size
        self.reclaimable = reclaimable
        self.share = share

    def show_reclaimable(self) -> str:
        """173.3MB (95%)"""
        text = human_size(self.reclaimable)
        if self.share and self.size > 0:
            text += f" ({self.reclaimable * 100 // self.size}%)"
        return text


USAGE = Listing(
    "*formatter.diskUsageContext",
    {
        "Active": ("ACTIVE", lambda row: str(row.active)),
        "Reclaimable": ("RECLAIMABLE", Usage.show_reclaimable),
        "Size": ("SIZE", lambda row: human_size(row.size)),
        "TotalCount": ("TOTAL", lambda row: str(row.total)),
        "Type": ("TYPE", lambda row: row.kind),
    },
)
_DEFAULT = ("Type", "TotalCount", "Active", "Size", "Reclaimable")
_IMAGES = (
    "Repository",
    "Tag",
    "ID",
    "CreatedSince",
    "Size",
    "SharedSize",
    "UniqueSize",
    "Containers",
)
_CONTAINERS = (
    "ID",
    "Image",
    "Command",
    "LocalVolumes",
    "Size",
    "RunningFor",
    "Status",
    "Names",
)
_RAW = (
    "type: {{.Type}}\ntotal: {{.TotalCount}}\nactive: {{.Active}}\n"
    "size: {{.Size}}\nreclaimable: {{.Reclaimable}}\n"
)


def summarize(usage: dict[str, Any]) -> list[Usage]:
    """The four lines of the summary, from the engine's lists."""
    images = usage.get("Images") or ()
    layers = int(usage.get("LayersSize") or 0)
    used = sum(
        image["Size"] - image["SharedSize"]
        for image in images
        if image.get("Containers") and -1 not in (image["Size"], image["SharedSize"])
    )
    containers = usage.get("Containers") or ()
    idle = [each for each in containers if each.get("State") not in _ALIVE]
    volumes = [each.get("UsageData") or {} for each in usage.get("Volumes") or ()]
    measured = [each for each in volumes if each.get("Size", -1) != -1]
    cache = usage.get("BuildCache") or ()
    return [
        Usage(
            "Images",
            len(images),
            sum(image.get("Containers", 0) > 0 for image in images),
            layers,
            layers - used,
        ),
        Usage(
            "Containers",
            len(containers),
            len(containers) - len(idle),
            sum(each.get("SizeRw") or 0 for each in containers),
            sum(each.get("SizeRw") or 0 for each in idle),
        ),
        Usage(
            "Local Volumes",
            len(volumes),
            sum(each.get("RefCount", 0) > 0 for each in volumes),
            sum(each["Size"] for each in measured),
            sum(each["Size"] for each in measured if not each.get("RefCount")),
        ),
        Usage(
            "Build Cache",
            len(cache),
            sum(bool(each.get("InUse")) for each in cache),
            sum(each.get("Size", 0) for each in cache if not each.get("Shared")),
            sum(
                each.get("Size", 0)
                for each in cache
                if not each.get("Shared") and not each.get("InUse")
            ),
            share=False,
        ),
    ]


def _verbose(usage: dict[str, Any]) -> str:
    """One table for each kind of object."""
    from barque.cli.rows.containers import CONTAINERS, ContainerRow  # noqa: PLC0415 - rare
    from barque.cli.rows.images import IMAGES, image_rows  # noqa: PLC0415 - rare
    from barque.cli.rows.volumes import VOLUMES  # noqa: PLC0415 - rare

    images = image_rows(usage.get("Images") or [], truncate=True, digests=False, need_digest=False)
    # What containers share with their images is counted there.
    containers = [
        ContainerRow({**each, "SizeRootFs": 0}, truncate=True)
        for each in usage.get("Containers") or ()
    ]
    text = "Images space usage:\n\n" + render(IMAGES, images, "", _IMAGES)
    text += "\nContainers space usage:\n\n" + render(CONTAINERS, containers, "", _CONTAINERS)
    text += "\nLocal Volumes space usage:\n\n"
    text += render(VOLUMES, usage.get("Volumes") or [], "", ("Name", "Links", "Size"))
    cache = usage.get("BuildCache") or []
    size = summarize(usage)[3].size
    text += f"\nBuild cache usage: {human_size(size)}\n\n"
    return text + render(_CACHE, cache, "", tuple(_CACHE.columns))


def _since(text: Any) -> str:
    from barque.cli.units import parse_rfc3339  # noqa: PLC0415 - rare

    return age(parse_rfc3339(str(text))[0]) if text else ""


def _cache_id(each: dict[str, Any]) -> str:
    """The id, with a star while a build uses it."""
    return str(each.get("ID", ""))[:12] + ("*" if each.get("InUse") else "")


_CACHE = Listing(
    "*formatter.buildCacheContext",
    {
        "ID": ("CACHE ID", _cache_id),
        "CacheType": ("CACHE TYPE", lambda each: str(each.get("Type", ""))),
        "Size": ("SIZE", lambda each: human_size(each.get("Size", 0), 3)),
        "CreatedSince": ("CREATED", lambda each: _since(each.get("CreatedAt"))),
        "LastUsedSince": ("LAST USED", lambda each: _since(each.get("LastUsedAt"))),
        "UsageCount": ("USAGE", lambda each: str(each.get("UsageCount", 0))),
        "Shared": ("SHARED", lambda each: "true" if each.get("Shared") else "false"),
    },
)


def _df(call: Invocation) -> int:
    layout = call.flags["format"]
    verbose = call.flags["verbose"]
    if verbose and layout not in ("", "table"):
        raise CommandError("--verbose shows tables only: leave out --format or --verbose")
    usage = call.client.get("/system/df")
    if verbose:
        sys.stdout.write(_verbose(usage))
        return 0
    layout = _RAW if layout == "raw" else layout
    sys.stdout.write(render(USAGE, summarize(usage), layout, _DEFAULT))
    return 0


DF = Command(
    "[OPTIONS]",
    _df,
    maximum=0,
    flags=(
        Flag("format", "string", "Format output: 'table', 'json', a Go template"),
        Flag("verbose", "bool", "Show detailed information on space usage", short="v"),
    ),
)
