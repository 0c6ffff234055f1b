"""What is said of an address that has moved."""

from __future__ import annotations

from barque.network.advertise import announcement

MAC = "02:00:00:00:00:2a"


def test_an_arp_announcement() -> None:
    assert announcement(MAC, "10.77.8.2") == bytes.fromhex(
        "ffffffffffff 02000000002a 0806"  # to all, from the container, ARP
        "0001 0800 06 04 0001"  # Ethernet, IPv4, request
        "02000000002a 0a4d0802"  # the sender
        "000000000000 0a4d0802"  # who is asked for: himself
    )


def test_an_unsolicited_neighbour_advertisement() -> None:
    frame = announcement(MAC, "fd00::2")
    assert frame[:54] == bytes.fromhex(
        "333300000001 02000000002a 86dd"  # to all nodes, IPv6
        "60000000 0020 3a ff"  # 32 bytes of ICMPv6, 255 hops to go
        "fd000000000000000000000000000002"
        "ff020000000000000000000000000001"
    )
    message = frame[54:]
    assert message[:2] + message[4:] == bytes.fromhex(
        "88 00 20000000"  # neighbour advertisement, override
        "fd000000000000000000000000000002"
        "02 01 02000000002a"  # target link-layer address
    )
    pseudo = frame[22:54] + bytes.fromhex("00000020 0000003a")
    words = pseudo + message
    total = sum(int.from_bytes(words[at : at + 2], "big") for at in range(0, len(words), 2))
    assert total % 0xFFFF == 0
