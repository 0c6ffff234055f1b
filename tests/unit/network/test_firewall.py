from __future__ import annotations

from barque.models.network import OPTION_BRIDGE, OPTION_ICC, OPTION_MASQUERADE, IpamConfig
from barque.models.network import NetworkRecord as Record
from barque.network.firewall import render_ruleset, table_name


def record(**options: str) -> Record:
    return Record(
        id="1" * 64,
        name="bridge",
        driver="bridge",
        created="",
        ipam=[IpamConfig(subnet="10.77.8.0/24", gateway="10.77.8.1")],
        options={OPTION_BRIDGE: "tbq7", **options},
    )


def test_rules_of_a_network() -> None:
    assert table_name("tbq7") == "barque-tbq7"
    script = render_ruleset("barque-tbq7", record())
    assert script.startswith("add table inet barque-tbq7\ndelete table inet barque-tbq7\n")
    assert 'ip saddr 10.77.8.0/24 oifname != "tbq7" masquerade' in script
    assert 'elements = { "tbq7" . "tbq7" };' in script


def test_rules_without_masquerading_or_inter_container_communication() -> None:
    script = render_ruleset("t", record(**{OPTION_MASQUERADE: "false", OPTION_ICC: "false"}))
    assert "masquerade" not in script
    assert '"tbq7" . "tbq7"' not in script
