"""Who reaches whom, by which address, under which publication: each cell what docker promises.

The same engine-level matrix runs against barque and, where it is installed, Debian's dockerd
with its own firewall and docker-proxy, each in a network namespace of its own that plays the
host. Where one of them differs from what the documentation of docker 28 promises, that is
listed in ``DIFFERENCES`` with the reason, and exactly that is what must be seen.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path
from typing import NamedTuple

import pytest

from support.engine import Engine, docker_cli_is_here, dockerd_is_here, open_barqued, open_dockerd
from support.network import has_kind, isolated, needs_nft
from support.rootfs import busybox_is_here, write_busybox_tar
from support.world import HOST_4, OUTSIDE_4, World, make_outside, open_host

pytestmark = [
    needs_nft,
    pytest.mark.skipif(os.getuid() != 0, reason="starts containers: needs root"),
    pytest.mark.skipif(not busybox_is_here(), reason="needs the package busybox-static"),
    pytest.mark.skipif(not docker_cli_is_here(), reason="needs the docker command line"),
]

HAS_MACVLAN = os.getuid() == 0 and has_kind("macvlan")
"""Without it the cells of ``lan``, a macvlan network upon the host's uplink, are left out."""

PUBLISHED = {
    "any": (80, "8080:80"),
    "0.0.0.0": (81, "0.0.0.0:8081:81"),
    "[::]": (82, "[::]:8082:82"),
    "127.0.0.1": (83, "127.0.0.1:8083:83"),
    "[::1]": (84, "[::1]:8084:84"),
    "one4": (85, "192.0.2.1:8085:85"),
    "one6": (86, "[2001:db8::1]:8086:86"),
    "none": (87, ""),
}
"""What the columns are: by publication, the container's port and what is given to ``-p``."""

# + reached by TCP and by UDP, . by neither, - there is no such port. Rows: who asks, whom, by which address.
PROMISED = """
who     whom   by             any 0.0.0.0 [::] 127.0.0.1 [::1] one4 one6 none
outside web    192.0.2.1      +   +       .    .         .     +    .    .
outside web    2001:db8::1    +   .       +    .         .     .    +    .
outside web    127.0.0.1      .   .       .    .         .     .    .    .
outside web    web/4          .   .       .    .         .     .    .    .
outside web    web/6          .   .       .    .         .     .    .    .
host    web    192.0.2.1      +   +       .    .         .     +    .    .
host    web    2001:db8::1    +   .       +    .         .     .    +    .
host    web    127.0.0.1      +   +       .    +         .     .    .    .
host    web    ::1            +   .       +    .         +     .    .    .
host    web    10.177.1.1     +   +       .    .         .     .    .    .
host    web    web/4          +   +       +    +         +     +    +    +
host    web    web/6          +   +       +    +         +     +    +    +
sibling web    192.0.2.1      +   +       .    .         .     +    .    .
sibling web    2001:db8::1    +   .       +    .         .     .    +    .
sibling web    10.177.1.1     +   +       .    .         .     .    .    .
sibling web    web/4          +   +       +    +         +     +    +    +
sibling web    web/6          +   +       +    +         +     +    +    +
other   web    192.0.2.1      +   +       .    .         .     +    .    .
other   web    2001:db8::1    +   .       +    .         .     .    +    .
other   web    10.177.1.1     +   +       .    .         .     .    .    .
other   web    10.177.2.1     +   +       .    .         .     .    .    .
other   web    web/4          .   .       .    .         .     .    .    .
other   web    web/6          .   .       .    .         .     .    .    .
plain   web    192.0.2.1      +   +       .    .         .     +    .    .
plain   web    web/4          .   .       .    .         .     .    .    .
both    web    192.0.2.1      +   +       .    .         .     +    .    .
both    web    web/4          .   .       .    .         .     .    .    .
web     web    192.0.2.1      +   +       .    .         .     +    .    .
web     web    2001:db8::1    +   .       +    .         .     .    +    .
web     web    10.177.1.1     +   +       .    .         .     .    .    .
web     web    web/4          +   +       +    +         +     +    +    +
web     web    127.0.0.1      .   .       .    .         .     .    .    .
inner   web    192.0.2.1      .   .       .    .         .     .    .    .
inner   web    10.177.1.1     .   .       .    .         .     .    .    .
inner   web    10.177.3.1     .   .       .    .         .     .    .    .
inner   web    web/4          .   .       .    .         .     .    .    .
outside plain  192.0.2.1      +   -       -    -         -     -    -    -
outside plain  2001:db8::1    +   -       -    -         -     -    -    -
outside plain  plain/4        .   -       -    -         -     -    -    .
host    plain  127.0.0.1      +   -       -    -         -     -    -    -
host    plain  ::1            +   -       -    -         -     -    -    -
host    plain  plain/4        +   -       -    -         -     -    -    +
sibling plain  192.0.2.1      +   -       -    -         -     -    -    -
sibling plain  plain/4        .   -       -    -         -     -    -    .
web     plain  192.0.2.1      +   -       -    -         -     -    -    -
plain   plain  192.0.2.1      +   -       -    -         -     -    -    -
outside inner  inner/4        .   -       -    -         -     -    -    .
host    inner  inner/4        +   -       -    -         -     -    -    +
web     inner  inner/4        .   -       -    -         -     -    -    .
other   inner  inner/4        .   -       -    -         -     -    -    .
both    inner  inner/4        +   -       -    -         -     -    -    +
inner2  inner  inner/4        +   -       -    -         -     -    -    +
both    other  other/4        +   -       -    -         -     -    -    +
both    other  other/6        +   -       -    -         -     -    -    +
other   both   both/4         +   -       -    -         -     -    -    +
inner   both   both/4         .   -       -    -         -     -    -    .
outside both   192.0.2.1      +   -       -    -         -     -    -    -
web     outside 192.0.2.9      +   -       -    -         -     -    -    -
web     outside 2001:db8::9    +   -       -    -         -     -    -    -
other   outside 192.0.2.9      +   -       -    -         -     -    -    -
plain   outside 192.0.2.9      +   -       -    -         -     -    -    -
both    outside 192.0.2.9      +   -       -    -         -     -    -    -
inner   outside 192.0.2.9      .   -       -    -         -     -    -    -
web     host   192.0.2.1      -   -       -    -         -     -    -    +
plain   host   192.0.2.1      -   -       -    -         -     -    -    +
inner   host   192.0.2.1      -   -       -    -         -     -    -    .
outside lan    lan/4          +   -       -    -         -     -    -    +
outside lan    192.0.2.1      .   -       -    -         -     -    -    -
lan2    lan    lan/4          +   -       -    -         -     -    -    +
host    lan    lan/4          .   -       -    -         -     -    -    .
host    lan    127.0.0.1      .   -       -    -         -     -    -    -
web     lan    lan/4          .   -       -    -         -     -    -    .
lan     web    192.0.2.1      .   .       .    .         .     .    .    .
lan     web    web/4          .   .       .    .         .     .    .    .
lan     host   192.0.2.1      -   -       -    -         -     -    -    .
lan     outside 192.0.2.9     +   -       -    -         -     -    -    -
"""


class Cell(NamedTuple):
    """A question."""

    who: str
    whom: str
    by: str
    publication: str
    kind: str

    def __str__(self) -> str:
        return " ".join(self)


class Difference(NamedTuple):
    """Cells where an engine does otherwise, and why. "*" in a cell stands for anything."""

    cells: str
    reached: bool
    why: str

    def covers(self, cell: Cell) -> bool:
        """Whether it speaks of ``cell``."""
        return any(
            all(wanted in ("*", there) for wanted, there in zip(line.split(), cell, strict=True))
            for line in self.cells.strip().splitlines()
        )


DIFFERENCES: dict[str, list[Difference]] = {
    "barqued": [],
    "dockerd": [
        Difference(
            """
            outside web 127.0.0.1 any       *
            outside web 127.0.0.1 0.0.0.0   *
            outside web 127.0.0.1 127.0.0.1 *
            """,
            reached=True,
            why="before 28.0.0 a neighbour that sends to 127.0.0.1 by way of the host reached ports "
            "published there (GHSA-xmmx-7jpf-fx42)",
        ),
        Difference(
            """
            outside web web/4 any       *
            outside web web/4 0.0.0.0   *
            outside web web/4 127.0.0.1 *
            outside web web/4 one4      *
            outside web web/6 any       *
            outside web web/6 [::]      *
            outside web web/6 [::1]     *
            outside web web/6 one6      *
            """,
            reached=True,
            why="before 28.0.0 who routed to the bridge's subnet reached the published ports of a "
            "container by its own address, wherever they were published",
        ),
        Difference(
            """
            sibling web    192.0.2.1   any     udp
            sibling web    192.0.2.1   0.0.0.0 udp
            sibling web    2001:db8::1 any     udp
            sibling web    2001:db8::1 [::]    udp
            other   web    192.0.2.1   any     udp
            other   web    192.0.2.1   0.0.0.0 udp
            other   web    2001:db8::1 any     udp
            other   web    2001:db8::1 [::]    udp
            other   web    10.177.1.1  any     udp
            other   web    10.177.1.1  0.0.0.0 udp
            plain   web    192.0.2.1   any     udp
            plain   web    192.0.2.1   0.0.0.0 udp
            both    web    192.0.2.1   any     udp
            both    web    192.0.2.1   0.0.0.0 udp
            web     web    192.0.2.1   any     udp
            web     web    192.0.2.1   0.0.0.0 udp
            web     web    2001:db8::1 any     udp
            web     web    2001:db8::1 [::]    udp
            sibling plain  192.0.2.1   any     udp
            web     plain  192.0.2.1   any     udp
            plain   plain  192.0.2.1   any     udp
            """,
            reached=False,
            why="what containers send to the host's address goes to docker-proxy, whose datagrams "
            "come from the bridge's address instead: a connected socket does not take them",
        ),
        Difference(
            "inner host 192.0.2.1 none *",
            reached=True,
            why="internal networks were closed where packets are forwarded only: the host itself "
            "was reached, by the default route that 20.10 gives them all the same",
        ),
    ],
}


def read_table() -> dict[Cell, bool]:
    """Return whether each cell is to be reached."""
    header, *rows = (line.split() for line in PROMISED.strip().splitlines())
    cells = {}
    for who, whom, by, *marks in rows:
        if not HAS_MACVLAN and {who, whom} & {"lan", "lan2"}:
            continue
        for publication, mark in zip(header[3:], marks, strict=True):
            for kind in ("tcp", "udp") if mark != "-" else ():
                cells[Cell(who, whom, by, publication, kind)] = mark == "+"
    return cells


def differ(name: str, cells: dict[Cell, bool]) -> dict[Cell, bool]:
    """Return what is to be seen of the engine ``name``. Each difference must be one."""
    seen = dict(cells)
    for difference in DIFFERENCES[name]:
        concerned = [
            cell
            for cell, promised in cells.items()
            if difference.covers(cell) and promised != difference.reached
        ]
        assert concerned, f"no cell differs so: {difference}"
        seen.update(dict.fromkeys(concerned, difference.reached))
    return seen


def where(cell: Cell) -> tuple[int, str]:
    """Return the port that is asked, and the answer that is the right one."""
    inside, flag = PUBLISHED[cell.publication]
    own = "/" in cell.by or cell.whom in ("outside", "host")
    port = inside if own or not flag else inside + 8000
    if cell.whom == "host":
        port = inside = 22222
    elif cell.whom not in ("web", "outside") and not own:
        port += {"plain": 1000, "both": 2000, "lan": 3000}.get(cell.whom, 0)
    elif cell.publication == "none" and not own:
        port = 8087
    return port, f"{cell.whom}:{inside}"


async def make_world(engine: Engine) -> World:
    """The networks: one and two (dual-stack), inside (internal), lan (macvlan), the default one."""
    host = open_host()
    world = World(engine, host)
    world.namespaces["outside"] = make_outside(host["host"], "10.177.0.0/16", "fd77::/16")
    for name, number, flags in (
        ("one", 1, ("--ipv6", "--subnet", "fd77:1::/64")),
        ("two", 2, ("--ipv6", "--subnet", "fd77:2::/64")),
        ("inside", 3, ("--internal",)),
    ):
        subnet = f"10.177.{number}.0/24"
        await world.docker("network", "create", "--subnet", subnet, *flags, name)
    publish = []
    for _, flag in filter(lambda entry: entry[1], PUBLISHED.values()):
        publish += ["-p", flag, "-p", f"{flag}/udp"]
    every = [port for port, _ in PUBLISHED.values()]
    await world.add("web", "one", *publish, ports=every)
    await world.add("sibling", "one", ports=[80, 87])
    await world.add("other", "two", ports=[80, 87])
    await world.add(
        "plain", "bridge", "-p", "9080:80", "-p", "9080:80/udp", ports=[80, 87]
    )  # fmt: skip
    await world.add("both", "two", "-p", "10080:80", "-p", "10080:80/udp", ports=[80, 87])
    await world.docker("network", "connect", "inside", "both")
    await world.add("inner", "inside", ports=[80, 87])
    await world.add("inner2", "inside", ports=[80, 87])
    if HAS_MACVLAN:
        upon = ("--driver", "macvlan", "--opt", "parent=uplink", "--gateway", OUTSIDE_4)
        await world.docker("network", "create", *upon, "--subnet", "192.0.2.0/24", "lan")
        for name, number in (("lan", 77), ("lan2", 78)):
            at = ("--ip", f"192.0.2.{number}", "-p", "11080:80", "-p", "11080:80/udp")
            await world.add(name, "lan", *at, ports=[80, 87])
    await world.serve("outside", 80)
    await world.serve("host", 22222, at=(HOST_4,))
    return world


async def look(world: World, expected: dict[Cell, bool]) -> list[str]:
    """Ask everything; return what is not as expected. What is not seen at once is asked again."""

    async def ask(cell: Cell) -> bool:
        port, answer = where(cell)
        said = await world.ask(cell.who, cell.kind, cell.by, port)
        assert said in ("", answer), f"{cell}: {said} answers instead of {answer}"
        return bool(said)

    open_ = list(expected)
    for _ in range(3):
        found = await asyncio.gather(*map(ask, open_))
        open_ = [
            cell for cell, reached in zip(open_, found, strict=True) if reached != expected[cell]
        ]
    return [f"{cell}: {'not ' * expected[cell]}reached" for cell in open_]


def open_engine(name: str) -> AbstractContextManager[Engine]:
    """dockerd with all that it usually is: its firewall, its proxy."""
    if name == "barqued":
        return open_barqued()
    return open_dockerd(
        "--iptables=true", "--experimental", "--ip6tables=true", "--userland-proxy=true"
    )


def run_version() -> str:
    done = subprocess.run(["dockerd", "--version"], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("name", ["barqued", "dockerd"])
def test_everybody_reaches_whom_docker_promises(name: str, tmp_path: Path) -> None:
    if name == "dockerd" and not dockerd_is_here():
        pytest.skip("needs dockerd: install docker.io")
    if name == "dockerd" and " 20.10." not in run_version():
        pytest.skip("the differences are listed for dockerd 20.10, Debian 12's docker.io")

    @isolated
    def check(root: Path) -> None:
        expected = differ(name, read_table())
        # As after a boot: an engine that lets the host forward packets closes it to others.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        archive = write_busybox_tar(root / "busybox.tar")
        with open_engine(name) as engine:
            engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")

            async def run() -> None:
                world = await make_world(engine)
                differences = await look(world, expected)
                assert not differences, "\n" + "\n".join(differences)

            asyncio.run(run())

    check(tmp_path)


ASK = "until timeout 5 wget -qO- http://peer/ >/dev/null; do :; done"
"""A client that waits for its server to be there."""


@isolated
def test_requests_go_on_while_another_engine_comes_and_goes(tmp_path: Path) -> None:
    """By name, on a bridge, on an internal network, by a published port."""
    archive = write_busybox_tar(tmp_path / "busybox.tar")
    serve = "mkdir /www; echo yes > /www/index.html; exec httpd -f -p 80 -h /www"
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        for network, flags in (("inner", ("--internal",)), ("outer", ())):
            engine.docker("network", "create", *flags, network)
            on = ("--network", network, "--network-alias", "peer")
            port = ("-p", "8080:80") if network == "outer" else ()
            engine.docker("run", "-d", *on, *port, "busybox", "sh", "-c", serve)
            engine.docker("run", "-d", "--name", network, "--network", network, "busybox", "top")
            engine.docker("exec", network, "sh", "-c", ASK)
        for kill in (False, True, False):
            with open_barqued() as other:
                other.docker("network", "create", "--internal", "own")
                check_answers(engine)
                if kill:
                    other.kill()
                    other.start()
                    check_answers(engine)
            check_answers(engine)


def check_answers(engine: Engine) -> None:
    for network in ("inner", "outer"):
        said = engine.docker("exec", network, "timeout", "5", "wget", "-qO-", "http://peer/")
        assert said == "yes", network
    with urllib.request.urlopen("http://127.0.0.1:8080/", timeout=5) as answer:
        assert answer.read() == b"yes\n"


@isolated
def test_a_host_without_any_network(tmp_path: Path) -> None:
    """Containers start and find each other; other names fail, and say so at once."""
    archive = write_busybox_tar(tmp_path / "busybox.tar")
    with open_barqued() as engine:
        engine.docker("import", "--change", 'CMD ["sh"]', str(archive), "busybox")
        engine.docker("network", "create", "own")
        engine.docker(
            "run", "-d", "--name", "peer", "--network", "own", "-p", "80", "busybox", "top"
        )
        inside = ("run", "--rm", "--network", "own", "busybox")
        assert "Address" in engine.docker(*inside, "nslookup", "peer")
        unknown = engine.cli(*inside, "nslookup", "example.com")
        assert unknown.returncode
        assert "SERVFAIL" in unknown.stdout
