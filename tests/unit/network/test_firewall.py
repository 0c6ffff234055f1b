"""The firewall's document, as data."""

from __future__ import annotations

from typing import Any

from barque.models.network import (
    OPTION_BRIDGE,
    OPTION_GATEWAY_MODE_4,
    OPTION_HOST_4,
    OPTION_ICC,
    OPTION_MASQUERADE,
    IpamConfig,
    NetworkRecord,
)
from barque.network.firewall import (
    Port,
    network_elements,
    pack_port,
    render_ruleset,
    table_name,
)

SUBNET = "10.77.8.0/24"


def record(options: dict[str, str] | None = None, **fields: Any) -> NetworkRecord:
    return NetworkRecord(
        id="1" * 64,
        name="net",
        driver="bridge",
        created="",
        ipam=[IpamConfig(subnet=SUBNET, gateway="10.77.8.1")],
        options={OPTION_BRIDGE: "tbq7", **(options or {})},
        **fields,
    )


def test_elements_of_a_network() -> None:
    assert table_name("tbq7") == "barque-tbq7"
    assert network_elements([record()]) == {
        "guarded": ['"tbq7"'],
        "homes": ['"tbq7"'],
        "bridges": ['"tbq7"'],
        "peers": ['"tbq7" . "tbq7"'],
        "local4": [f'{SUBNET} . "tbq7"'],
        "subnets4": [SUBNET],
        "masquerade4": [SUBNET],
    }


def test_options_take_elements_away() -> None:
    found = network_elements([record({OPTION_MASQUERADE: "false", OPTION_ICC: "0"})])
    assert "masquerade4" not in found
    assert "peers" not in found
    internal = network_elements([record(internal=True)])
    assert internal["internal"] == ['"tbq7"']
    assert "masquerade4" not in internal
    assert network_elements([record({OPTION_HOST_4: "192.0.2.7"})])["source4"] == [
        f"{SUBNET} : 192.0.2.7"
    ]


def test_gateway_modes() -> None:
    routed = network_elements([record({OPTION_GATEWAY_MODE_4: "routed"})])
    assert routed["routed"] == routed["bridges"] == ['"tbq7"']
    assert not {"subnets4", "masquerade4"} & set(routed)
    open_ = network_elements([record({OPTION_GATEWAY_MODE_4: "nat-unprotected"})])
    assert not {"subnets4", "bridges"} & set(open_)
    assert open_["masquerade4"] == [SUBNET]


def test_a_port_is_two_elements() -> None:
    everywhere = Port("tcp", "0.0.0.0", 8080, "10.77.8.2", 80)
    assert everywhere.elements() == [
        ("open4", ("10.77.8.2", "tcp", "80"), ()),
        ("any4", ("tcp", "8080"), ("10.77.8.2", "80")),
    ]
    one = Port("udp", "127.0.0.1", 53, "10.77.8.2", 5353)
    assert one.elements()[1] == ("one4", ("127.0.0.1", "udp", "53"), ("10.77.8.2", "5353"))
    six = Port("tcp", "::", 8080, "fd00::2", 80)
    assert [name for name, _, _ in six.elements()] == ["open6", "any6"]
    assert Port("tcp", "", 0, "10.77.8.2", 80, translated=False).elements() == [
        ("open4", ("10.77.8.2", "tcp", "80"), ())
    ]


def test_a_port_is_packed_as_the_kernel_has_it() -> None:
    opened, translated = pack_port(Port("tcp", "0.0.0.0", 8080, "10.77.8.2", 80))
    assert (opened.set_name, opened.data) == ("open4", b"")
    assert opened.key.hex() == "0a4d0802" + "06000000" + "00500000"
    assert translated.key.hex() == "06000000" + "1f900000"
    assert translated.data.hex() == "0a4d0802" + "00500000"


def test_the_script_replaces_the_table() -> None:
    script = render_ruleset(
        "barque-tbq7", [record()], [Port("tcp", "0.0.0.0", 8080, "10.77.8.2", 80)]
    )
    assert script.startswith("add table inet barque-tbq7\ndelete table inet barque-tbq7\n")
    assert "elements = { tcp . 8080 : 10.77.8.2 . 80 };" in script
    assert 'elements = { "tbq7" . "tbq7" };' in script
    assert "$" not in script
