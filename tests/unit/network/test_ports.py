"""What is asked to be published, and who gets which number."""

from __future__ import annotations

import socket

import pytest

from barque.errors import FailedPrecondition
from barque.models.api import PortBinding
from barque.network.endpoints import Target
from barque.network.firewall import Port
from barque.network.ports import PortAllocator, Wanted, parse_bindings

LOOPBACK = "127.0.0.1"


def binding(port: str = "", address: str = "") -> PortBinding:
    return PortBinding(host_ip=address, host_port=port)


def test_bindings() -> None:
    assert parse_bindings(
        {
            "80": [binding("8080"), binding("8081", "[::1]")],
            "53/udp": [binding()],
            "90/tcp": [binding("9000-9010", LOOPBACK)],
            "99/tcp": None,
        }
    ) == [
        Wanted(53, "udp", "", 0, 0),
        Wanted(80, "tcp", "", 8080, 8080),
        Wanted(80, "tcp", "::1", 8081, 8081),
        Wanted(90, "tcp", LOOPBACK, 9000, 9010),
    ]


def test_publish_all_takes_what_has_no_number() -> None:
    wanted = parse_bindings(
        {"80/tcp": [binding("8080")], "81/tcp": []}, ["80/tcp", "70-71/udp"], publish_all=True
    )
    assert wanted == [
        Wanted(70, "udp", "", 0, 0),
        Wanted(71, "udp", "", 0, 0),
        Wanted(80, "tcp", "", 8080, 8080),
        Wanted(81, "tcp", "", 0, 0),
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def hold(allocator: PortAllocator, *wanted: Wanted) -> object:
    return allocator.hold(wanted, Target("10.0.0.2", ""), default_ip="", who="c (1)")


def test_a_port_is_held_until_it_is_released() -> None:
    allocator = PortAllocator(ipv6=False)
    number = free_port()
    want = Wanted(80, "tcp", LOOPBACK, number, number)
    held = allocator.hold([want], Target("10.0.0.2", ""), default_ip="", who="c (1)")
    assert held.published == {"80/tcp": [binding(str(number), LOOPBACK)]}
    assert held.ports == [Port("tcp", LOOPBACK, number, "10.0.0.2", 80)]
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind((LOOPBACK, number))
    with pytest.raises(FailedPrecondition, match="port is already allocated"):
        hold(allocator, Wanted(81, "tcp", "0.0.0.0", number, number))
    allocator.release(held)
    allocator.release(held)
    with socket.socket() as other:
        other.bind((LOOPBACK, number))
        with pytest.raises(FailedPrecondition, match=f"{number}/tcp: address already in use"):
            hold(allocator, want)
    hold(allocator, want)


def test_a_range_gives_its_first_free_and_all_or_nothing_is_held() -> None:
    allocator = PortAllocator(ipv6=False)
    number = free_port()
    taken = socket.socket()
    taken.bind((LOOPBACK, number))
    with taken:
        spread = Wanted(80, "tcp", LOOPBACK, number, number + 20)
        held = allocator.hold([spread], Target("10.0.0.2", ""), default_ip="", who="c")
        (shown,) = held.published["80/tcp"]
        assert number < int(shown.host_port) <= number + 20
        allocator.release(held)
        with pytest.raises(FailedPrecondition):
            hold(allocator, spread, Wanted(81, "tcp", LOOPBACK, number, number))
        assert not allocator._used


def test_ephemeral_ports_rise() -> None:
    allocator = PortAllocator(ipv6=False)
    held = [
        allocator.hold(
            [Wanted(80, "tcp", LOOPBACK, 0, 0)], Target("10.0.0.2", ""), default_ip="", who="c"
        )
        for _ in range(3)
    ]
    numbers = [int(each.published["80/tcp"][0].host_port) for each in held]
    assert numbers == sorted(set(numbers))
    for each in held:
        allocator.release(each)


def test_an_address_that_is_not_here() -> None:
    allocator = PortAllocator(ipv6=False)
    with pytest.raises(FailedPrecondition, match="cannot assign requested address"):
        hold(allocator, Wanted(80, "tcp", "192.0.2.77", 8080, 8080))


def test_routed_ports_are_opened_and_not_held() -> None:
    allocator = PortAllocator(ipv6=False)
    target = Target("10.0.0.2", "", translated_4=False)
    held = allocator.hold(
        [Wanted(80, "tcp", "", 8080, 8080)], target, default_ip="0.0.0.0", who="c"
    )
    assert held.sockets == []
    assert held.published == {"80/tcp": [binding("", "0.0.0.0")]}
    assert held.ports == [Port("tcp", "", 0, "10.0.0.2", 80, translated=False)]


def test_a_new_engine_retakes_ports_and_warns_of_those_it_cannot_hold() -> None:
    number = free_port()
    published = {"80/tcp": [binding(str(number), LOOPBACK)]}
    target = Target("10.0.0.2", "")
    allocator = PortAllocator(ipv6=False)
    held, warnings = allocator.retake(published, target, who="c")
    assert (held.published, warnings, len(held.sockets)) == (published, [], 1)
    allocator.release(held)
    with socket.socket() as other:
        other.bind((LOOPBACK, number))
        held, warnings = allocator.retake(published, target, who="c")
    assert held.ports == [Port("tcp", LOOPBACK, number, "10.0.0.2", 80)]
    assert "address already in use" in warnings[0]


def test_two_containers_do_not_retake_the_same_port() -> None:
    published = {"80/tcp": [binding(str(free_port()), LOOPBACK)]}
    allocator = PortAllocator(ipv6=False)
    first, _ = allocator.retake(published, Target("10.0.0.2", ""), who="c")
    second, warnings = allocator.retake(published, Target("10.0.0.3", ""), who="d")
    assert (second.published, second.ports) == ({}, [])
    assert "belongs to another container" in warnings[0]
    allocator.release(second)
    assert allocator.retake(published, Target("10.0.0.4", ""), who="e")[1], "still the first's"
    allocator.release(first)
