"""``stats``: what containers use, again and again (Engine API: ContainerStats)."""

from __future__ import annotations

import sys
import threading
import time

from barque.cli.command import Command, CommandError, Flag, Invocation
from barque.cli.listing import Listing, render, truncate_id
from barque.cli.units import binary_size, human_size
from barque.client.http import quote_segment
from barque.errors import BarqueError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_REFRESH_S = 0.5
_ABSENT = "--"


class Sample:
    """The newest figures of one container; not ``valid`` until there are any."""

    def __init__(self, container: str) -> None:
        self.container = container
        self.truncate = True
        self.name = self.id = ""
        self.cpu = self.memory = self.memory_limit = 0.0
        self.received = self.sent = self.read = self.written = self.pids = 0
        self.valid = False
        self.error: BarqueError | None = None
        self.first = threading.Event()

    def take(self, stats: dict[str, Any]) -> None:
        """Figures from one message of the engine."""
        self.name = str(stats.get("name", ""))
        self.id = str(stats.get("id", ""))
        self.cpu = cpu_percent(stats)
        memory = stats.get("memory_stats") or {}
        self.memory = memory_used(memory)
        self.memory_limit = float(memory.get("limit") or 0)
        networks = (stats.get("networks") or {}).values()
        self.received = sum(each.get("rx_bytes", 0) for each in networks)
        self.sent = sum(each.get("tx_bytes", 0) for each in networks)
        blocks = (stats.get("blkio_stats") or {}).get("io_service_bytes_recursive") or ()
        self.read = sum(each["value"] for each in blocks if each["op"][:1] in "rR")
        self.written = sum(each["value"] for each in blocks if each["op"][:1] in "wW")
        self.pids = int((stats.get("pids_stats") or {}).get("current") or 0)
        self.valid = True
        self.first.set()

    def fail(self, error: BarqueError | None) -> None:
        """There will be no more figures."""
        self.error = error
        self.valid = False
        self.first.set()

    def shown_id(self) -> str:
        """The id, or what the user called the container if none came yet."""
        return truncate_id(self.id) if self.truncate else self.id

    def percent(self) -> str:
        """Memory in percent of the limit."""
        share = self.memory / self.memory_limit * 100 if self.memory_limit else 0.0
        return f"{share:.2f}%"


def cpu_percent(stats: dict[str, Any]) -> float:
    """Share of one processor between the two readings of a message; 200 is two processors."""
    now = stats.get("cpu_stats") or {}
    before = stats.get("precpu_stats") or {}
    usage = now.get("cpu_usage") or {}
    spent = usage.get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    passed = now.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    processors = now.get("online_cpus") or len(usage.get("percpu_usage") or ())
    return float(spent) / passed * processors * 100.0 if spent > 0 and passed > 0 else 0.0


def memory_used(memory: dict[str, Any]) -> float:
    """Usage without the page cache that the kernel can drop at once."""
    usage = memory.get("usage") or 0
    details = memory.get("stats") or {}
    cache = details.get("total_inactive_file", details.get("inactive_file", 0))
    return float(usage - cache if cache < usage else usage)


def _valid(show: Any, absent: str = _ABSENT) -> Any:
    return lambda sample: show(sample) if sample.valid else absent


STATS_LISTING = Listing(
    "*container.statsContext",
    {
        "BlockIO": (
            "BLOCK I/O",
            _valid(lambda s: f"{human_size(s.read, 3)} / {human_size(s.written, 3)}"),
        ),
        "CPUPerc": ("CPU %", _valid(lambda s: f"{s.cpu:.2f}%")),
        "Container": ("CONTAINER", lambda s: s.container),
        "ID": ("CONTAINER ID", Sample.shown_id),
        "MemPerc": ("MEM %", _valid(Sample.percent)),
        "MemUsage": (
            "MEM USAGE / LIMIT",
            _valid(lambda s: f"{binary_size(s.memory)} / {binary_size(s.memory_limit)}", "-- / --"),
        ),
        "Name": ("NAME", lambda s: s.name.removeprefix("/") or _ABSENT),
        "NetIO": (
            "NET I/O",
            _valid(lambda s: f"{human_size(s.received, 3)} / {human_size(s.sent, 3)}"),
        ),
        "PIDs": ("PIDS", _valid(lambda s: str(s.pids))),
    },
)
_DEFAULT = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


class _Watch:
    """Follows containers, a thread and a connection for each."""

    def __init__(self, call: Invocation, *, stream: bool) -> None:
        self.call = call
        self.stream = stream
        self.truncate = not call.flags["no-trunc"]
        self.samples: dict[str, Sample] = {}

    def add(self, container: str) -> None:
        if container in self.samples:
            return
        sample = self.samples[container] = Sample(container)
        sample.truncate = self.truncate
        threading.Thread(target=self._follow, args=(sample,), daemon=True).start()

    def _follow(self, sample: Sample) -> None:
        client = self.call.settings.open_client()
        path = f"/containers/{quote_segment(sample.container)}/stats"
        try:
            with client.request("GET", path, query={"stream": self.stream}) as answer:
                for message in answer.messages():
                    sample.take(message)
            if self.stream:
                sample.fail(None)
        except BarqueError as error:
            sample.fail(error)
        finally:
            client.close()


def _stats(call: Invocation) -> int:
    flags = call.flags
    layout = flags["format"] or call.settings.config.get("statsFormat", "")
    stream = not flags["no-stream"]
    watch = _Watch(call, stream=stream)
    named = bool(call.args)
    if named:
        for name in call.args:
            watch.add(name)
    else:
        _add_listed(call, watch)
    for sample in list(watch.samples.values()):
        sample.first.wait()
    errors = [str(each.error) for each in watch.samples.values() if each.error is not None]
    if errors and (named or len(errors) == len(watch.samples)):
        raise CommandError("\n".join(dict.fromkeys(errors)))
    if not stream:
        sys.stdout.write(render(STATS_LISTING, list(watch.samples.values()), layout, _DEFAULT))
        return 0
    terminal = sys.stdout.isatty()
    while True:
        rows = list(watch.samples.values())
        text = render(STATS_LISTING, rows, layout, _DEFAULT)
        # Home, each line cleared behind its text, then all below: without flicker.
        if terminal:
            text = "\x1b[H" + text.replace("\n", "\x1b[K\n") + "\x1b[J"
        sys.stdout.write(text)
        sys.stdout.flush()
        time.sleep(_REFRESH_S)
        if not named:
            _add_listed(call, watch, forget=not flags["all"])
        elif all(sample.first.is_set() and not sample.valid for sample in rows):
            return 0


def _add_listed(call: Invocation, watch: _Watch, *, forget: bool = False) -> None:
    """Follow every container of the list; with ``forget`` drop those that ended."""
    query = {"all": call.flags["all"] or None}
    listed = [str(each["Id"])[:12] for each in call.client.get("/containers/json", query=query)]
    for name in listed:
        watch.add(name)
    if forget:
        for name in [name for name in watch.samples if name not in listed]:
            del watch.samples[name]


STATS = Command(
    "[OPTIONS] [CONTAINER...]",
    _stats,
    flags=(
        Flag("all", "bool", "Show all containers (default shows just running)", short="a"),
        Flag("format", "string", "Format output: 'table', 'json', a Go template"),
        Flag("no-stream", "bool", "Disable streaming stats and only pull the first result"),
        Flag("no-trunc", "bool", "Do not truncate output"),
    ),
)
