"""GET /containers/json.

Records are values, so the JSON of an entry is kept as long as the record is the same object,
the image's name still means the same image, and the words of ``Status`` are still true. A
list of unchanged containers is a join of kept texts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec

from barque.api.container_status import format_status
from barque.api.container_views import format_command, render_mount
from barque.api.contracts import Engine
from barque.api.filters import (
    Filters,
    get_flag,
    match_pattern,
    parse_filters,
)
from barque.api.http import Call, Reply, reply_json
from barque.api.parameters import NS_PER_S, parse_rfc3339
from barque.api.ports import list_exposed, parse_ports, summarise_ports
from barque.engine.filters import match_labels
from barque.errors import InvalidArgument, NotFound
from barque.models.container import ZERO_TIME, ContainerRecord

_KEYS = frozenset(
    "ancestor before since exited expose publish health id is-task isolation label name network "
    "status volume".split()
)
_STATES = frozenset("created restarting running removing paused exited dead".split())
_HEALTH = frozenset("starting healthy unhealthy none".split())
_ANNOTATIONS_SINCE = 46


class _Entry(NamedTuple):
    record: ContainerRecord
    image: str
    valid_until_ns: int
    json: bytes


class ContainerList:
    """The list, with the entries rendered so far."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._entries: dict[tuple[str, bool], _Entry] = {}

    async def list_containers(self, call: Call) -> Reply:
        """List containers: running ones, unless ``all``, ``limit`` or a status filter."""
        records = self._select(call)
        if call.flag("size"):
            return reply_json(await self.list_sizes(records, call.minor, time.time_ns()))
        entries = self._render_kept(records, annotations=call.minor >= _ANNOTATIONS_SINCE)
        return Reply(b"[" + b",".join(entries) + b"]\n")

    async def list_sizes(
        self, records: Sequence[ContainerRecord], minor: int, now_ns: int
    ) -> list[dict[str, Any]]:
        """Return the entries of ``records`` with the sizes of their file systems."""
        images: dict[str, str] = {}
        documents = []
        for record in records:
            image = self._name_image(record, images)
            document, _ = self._render(
                record, image, now_ns, annotations=minor >= _ANNOTATIONS_SINCE
            )
            size_rw, size_root_fs = await self._engine.containers.size(record.id)
            documents.append(document | {"SizeRw": size_rw, "SizeRootFs": size_root_fs})
        return documents

    def _render_kept(self, records: Sequence[ContainerRecord], *, annotations: bool) -> list[bytes]:
        now_ns = time.time_ns()
        images: dict[str, str] = {}
        kept = self._entries
        result = []
        for record in records:
            key = (record.id, annotations)
            image = self._name_image(record, images)
            entry = kept.get(key)
            if (
                entry is None
                or entry.record is not record
                or entry.valid_until_ns <= now_ns
                or entry.image != image
            ):
                document, until = self._render(record, image, now_ns, annotations=annotations)
                entry = _Entry(record, image, until, msgspec.json.encode(document))
                kept[key] = entry
            result.append(entry.json)
        if len(kept) > 4 * len(self._engine.containers.list()) + 64:
            living = {record.id for record in self._engine.containers.list()}
            self._entries = {key: entry for key, entry in kept.items() if key[0] in living}
        return result

    def _name_image(self, record: ContainerRecord, known: dict[str, str]) -> str:
        """Return the image's name as given, or its id once the name means another image."""
        name = record.config.image
        current = known.get(name)
        if current is None:
            image = self._engine.images.find(name)
            current = known[name] = "" if image is None else image.id
        return name if current == record.image_id else record.image_id

    def _render(
        self, record: ContainerRecord, image: str, now_ns: int, *, annotations: bool
    ) -> tuple[dict[str, Any], int]:
        status, until = format_status(record.state, now_ns)
        host: dict[str, Any] = {"NetworkMode": record.host_config.network_mode}
        if annotations and record.host_config.annotations:
            host["Annotations"] = record.host_config.annotations
        document = {
            "Id": record.id,
            "Names": ["/" + record.name],
            "Image": image,
            "ImageID": record.image_id,
            "Command": format_command(record),
            "Created": parse_rfc3339(record.created) // NS_PER_S,
            "Ports": summarise_ports(record),
            "Labels": record.config.labels or {},
            "State": record.state.status,
            "Status": status,
            "HostConfig": host,
            "NetworkSettings": {"Networks": record.networks},
            "Mounts": [render_mount(mount) for mount in record.mounts],
        }
        return document, until

    def _select(self, call: Call) -> Sequence[ContainerRecord]:
        records = self._engine.containers.list()
        if not call.query:
            return [record for record in records if record.state.running]
        filters = parse_filters(call.text("filters"), _KEYS)
        limit = call.integer("limit") or 0
        everything = call.flag("all") or limit > 0 or "status" in filters
        if not everything:
            records = [record for record in records if record.state.running]
        if filters:
            selection = _Selection(self._engine, filters)
            records = [record for record in records if selection.holds(record)]
        return records[:limit] if limit > 0 else records


class _Selection:
    """The filters of one request, read once."""

    def __init__(self, engine: Engine, filters: Filters) -> None:
        self._filters = filters
        for value in filters.get("status", ()):
            if value not in _STATES:
                raise InvalidArgument(f"invalid filter 'status={value}'")
        for value in filters.get("health", ()):
            if value not in _HEALTH:
                raise InvalidArgument(f"invalid filter 'health={value}'")
        self._exit_codes = [_parse_exit_code(value) for value in filters.get("exited", ())]
        self._ports = {
            key: set().union(*(parse_ports(value) for value in filters[key]))
            for key in ("expose", "publish")
            if key in filters
        }
        self._before = _find_bound(engine, filters, "before")
        self._since = _find_bound(engine, filters, "since")
        self._images = _find_descendants(engine, filters["ancestor"]) if (
            "ancestor" in filters
        ) else None  # fmt: skip
        self._tasks = get_flag(filters, "is-task")

    def holds(self, record: ContainerRecord) -> bool:
        """Tell whether every filter lets ``record`` pass."""
        f = self._filters
        state = record.state
        tests = {
            "label": lambda: match_labels(record.config.labels, f),
            "status": lambda: state.status in f["status"],
            "exited": lambda: (
                state.exit_code in self._exit_codes
                and not state.running
                and state.started_at != ZERO_TIME
            ),
            "health": lambda: (state.health.status if state.health else "none") in f["health"],
            "is-task": lambda: not self._tasks,
            "isolation": lambda: any(value in {"", "default"} for value in f["isolation"]),
            "id": lambda: (
                any(record.id.startswith(value) for value in f["id"])
                or match_pattern(f["id"], [record.id])
            ),
            "name": lambda: (
                match_pattern([value.removeprefix("/") for value in f["name"]], [record.name])
                or match_pattern(f["name"], ["/" + record.name])
            ),
            "network": lambda: _match_networks(record, f["network"]),
            "volume": lambda: any(
                value in {mount.name, mount.destination}
                for value in f["volume"]
                for mount in record.mounts
            ),
            "expose": lambda: not self._ports["expose"].isdisjoint(list_exposed(record)),
            "publish": lambda: (
                not self._ports["publish"].isdisjoint(
                    port
                    for text in record.host_config.port_bindings or ()
                    for port in parse_ports(text)
                )
            ),
            "before": lambda: self._before is not None and record.created < self._before,
            "since": lambda: self._since is not None and record.created > self._since,
            "ancestor": lambda: self._images is not None and record.image_id in self._images,
        }
        return all(tests[key]() for key, values in f.items() if values)


def _parse_exit_code(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise InvalidArgument(f"invalid filter 'exited={text}': not an exit code") from None


def _find_bound(engine: Engine, filters: Filters, key: str) -> str | None:
    values = filters.get(key)
    return engine.containers.get(values[0]).created if values else None


def _match_networks(record: ContainerRecord, wanted: list[str]) -> bool:
    return any(
        value == name or (value and endpoint.network_id.startswith(value))
        for value in wanted
        for name, endpoint in record.networks.items()
    )


def _find_descendants(engine: Engine, references: list[str]) -> set[str]:
    """Return the ids of the images named and of all made from them."""
    images = engine.images.list()
    found: set[str] = set()
    for reference in references:
        try:
            found.add(engine.images.get(reference).id)
        except NotFound:
            continue
    grown = True
    while grown:
        children = {image.id for image in images if image.parent in found} - found
        found |= children
        grown = bool(children)
    return found
