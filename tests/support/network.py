"""Network namespaces for tests: nothing here touches the machine's own network.

``isolated`` runs a function in a forked child with a network namespace of its own, which
plays the host; it takes every device and rule away with it.
"""

from __future__ import annotations

import errno
import functools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from barque.errors import KernelError
from barque.kernel.netlink import LOOPBACK, Netlink, add_dummy, set_link, try_kind
from barque.kernel.process import CLONE_NEWNET, setns, unshare
from barque.models.api import ContainerConfig, EndpointSettings, HostConfig, PortBinding
from barque.models.container import ContainerRecord, ContainerState
from barque.models.ids import ContainerId, ImageId
from support.children import run_in_child

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces")
needs_nft = pytest.mark.skipif(shutil.which("nft") is None, reason="needs nft (package nftables)")


def has_kind(kind: str) -> bool:
    """Whether this kernel makes interfaces of ``kind``, such as dummy or macvlan."""
    pid = os.fork()
    if pid == 0:
        try:
            unshare(CLONE_NEWNET)
            with Netlink() as netlink:
                netlink.execute(add_dummy("probe") if kind == "dummy" else try_kind(kind))
            os._exit(0)
        except KernelError as error:
            os._exit(error.errno == errno.EOPNOTSUPP)
        finally:
            os._exit(2)
    return os.waitpid(pid, 0)[1] == 0


def needs_kind(kind: str, option: str) -> pytest.MarkDecorator:
    """Skip a test on a kernel without interfaces of ``kind``."""
    missing = os.geteuid() == 0 and not has_kind(kind)
    return pytest.mark.skipif(missing, reason=f"needs a kernel with {option} ({kind})")


def isolated(test: Callable[[Path], None]) -> Callable[[Path], None]:
    """Decorator: run the test in a child with a network namespace of its own."""

    @functools.wraps(test)
    def run(tmp_path: Path) -> None:
        def work() -> None:
            unshare(CLONE_NEWNET)
            with Netlink() as netlink:
                netlink.execute(set_link(LOOPBACK, up=True))
            test(tmp_path)

        run_in_child(work)

    return run


@contextmanager
def entered(namespace_fd: int) -> Iterator[None]:
    """Be in another network namespace. What is made there stays there."""
    own = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    setns(namespace_fd, CLONE_NEWNET)
    try:
        yield
    finally:
        setns(own, CLONE_NEWNET)
        os.close(own)


def current_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY)


def new_namespace() -> int:
    """Make a network namespace; return a descriptor that keeps it."""
    own = current_namespace()
    unshare(CLONE_NEWNET)
    made = current_namespace()
    setns(own, CLONE_NEWNET)
    os.close(own)
    return made


def container(
    id_digit: str = "a",
    *,
    mode: str = "default",
    config: ContainerConfig | None = None,
    host: HostConfig | None = None,
    running: bool = False,
    networks: dict[str, EndpointSettings] | None = None,
    ports: dict[str, list[PortBinding]] | None = None,
) -> ContainerRecord:
    """A container record whose id is one digit 64 times."""
    host = host or HostConfig()
    host.network_mode = mode
    return ContainerRecord(
        id=ContainerId(id_digit * 64),
        name=f"c{id_digit}",
        created="2026-01-01T00:00:00.000000000Z",
        image_id=ImageId("sha256:" + "0" * 64),
        config=config or ContainerConfig(),
        host_config=host,
        path="sh",
        args=[],
        networks=networks or {},
        ports=ports or {},
        state=ContainerState(running=running, started_at="2026-01-01T00:00:00Z"),
    )
