"""Names of containers, and the messages in which they are asked for."""

from __future__ import annotations

import pytest
from dnslib import QTYPE, RCODE, DNSRecord
from hypothesis import given
from hypothesis import strategies as st

from barque.network.names import Named, Names, parse_reverse
from barque.network.resolver import View, answer_locally, refuse, truncate


def make_names() -> Names:
    names = Names()
    names.put("shop", "1", Named(("web", "www", "1" * 12), ("10.0.0.2", "fd00::2")))
    names.put("shop", "2", Named(("db", "www"), ("10.0.0.3",)))
    names.put("back.end", "3", Named(("web", "x.y"), ("10.1.0.2",)))
    return names


BOTH = ("shop", "back.end")


@pytest.mark.parametrize(
    ("networks", "name", "found"),
    [
        (BOTH, "web", ["10.0.0.2", "fd00::2"]),
        (BOTH, "WEB.", ["10.0.0.2", "fd00::2"]),
        (("back.end", "shop"), "web", ["10.1.0.2"]),
        (BOTH, "www", ["10.0.0.2", "fd00::2", "10.0.0.3"]),
        (BOTH, "111111111111", ["10.0.0.2", "fd00::2"]),
        (BOTH, "web.back.end", ["10.1.0.2"]),
        (BOTH, "x.y", ["10.1.0.2"]),
        (BOTH, "x.y.back.end", ["10.1.0.2"]),
        (BOTH, "web.other", None),
        (("shop",), "x.y", None),
        ((), "web", None),
    ],
)
def test_look_up(networks: tuple[str, ...], name: str, found: list[str] | None) -> None:
    assert make_names().find(networks, name, {}) == found


def test_links_are_names_of_one_container_only() -> None:
    names = make_names()
    assert names.find(BOTH, "store", {"shop": {"store": "db"}}) == ["10.0.0.3"]
    assert names.find(BOTH, "store", {}) is None


def test_an_endpoint_that_goes_takes_its_names_along() -> None:
    names = make_names()
    before = names.generation
    names.remove("shop", "1")
    names.remove("shop", "1")
    assert names.generation == before + 1
    assert names.find(BOTH, "www", {}) == ["10.0.0.3"]
    assert names.find_name(BOTH, "10.0.0.2") is None
    names.put("shop", "2", Named(("new",), ("10.0.0.3",)))
    assert names.find(BOTH, "db", {}) is None
    assert names.find_name(BOTH, "10.0.0.3") == "new.shop"


@given(st.ip_addresses())
def test_reverse_names_are_read(address: object) -> None:
    assert parse_reverse(address.reverse_pointer) == str(address)  # type: ignore[attr-defined]


def test_what_is_no_reverse_name() -> None:
    for text in ("web", "4.3.2.in-addr.arpa", "x.3.2.1.in-addr.arpa", "1.ip6.arpa"):
        assert parse_reverse(text) is None


def ask(name: str, kind: str = "A", **view: object) -> DNSRecord | None:
    query = DNSRecord.question(name, kind).pack()
    seen = View(networks=BOTH, **view)  # type: ignore[arg-type]
    answer, _, _ = answer_locally(query, make_names(), seen)
    return None if answer is None else DNSRecord.parse(answer)


def test_answers() -> None:
    one = ask("db")
    assert one is not None
    assert [(rr.rtype, str(rr.rdata), rr.ttl) for rr in one.rr] == [(QTYPE.A, "10.0.0.3", 600)]
    assert one.header.ra == 1
    assert one.header.rcode == RCODE.NOERROR
    two = ask("www")
    assert two is not None
    assert {str(rr.rdata) for rr in two.rr} == {"10.0.0.2", "10.0.0.3"}
    six = ask("web", "AAAA")
    assert six is not None
    assert [str(rr.rdata) for rr in six.rr] == ["fd00::2"]
    reverse = ask("3.0.0.10.in-addr.arpa", "PTR")
    assert reverse is not None
    assert str(reverse.rr[0].rdata) == "db.shop."


def test_a_name_without_an_address_of_the_family_is_not_asked_of_others() -> None:
    for kind in ("AAAA", "MX"):
        answer = ask("db", kind)
        assert answer is not None
        assert (answer.header.rcode, answer.rr) == (RCODE.NOERROR, [])


def test_what_is_for_others() -> None:
    for name, kind in (("example.com", "A"), ("db", "TXT"), ("9.9.9.9.in-addr.arpa", "PTR")):
        assert ask(name, kind) is None
    assert ask("nobody") is None
    kept = ask("nobody", keep_single_labels=True)
    assert kept is not None
    assert kept.rr == []


@given(st.binary(max_size=80))
def test_no_message_breaks_the_resolver(query: bytes) -> None:
    answer, limit, _ = answer_locally(query, make_names(), View(networks=BOTH))
    assert answer is None or len(answer) >= 12
    assert limit >= 512
    assert refuse(query, RCODE.SERVFAIL)[3] & 0xF == RCODE.SERVFAIL


def test_a_long_answer_is_truncated() -> None:
    names = Names()
    for number in range(60):
        names.put("n", str(number), Named(("many",), (f"10.0.0.{number}",)))
    query = DNSRecord.question("many").pack()
    answer, limit, stable = answer_locally(query, names, View(networks=("n",)))
    assert answer is not None
    assert len(answer) > limit == 512
    assert not stable
    short = DNSRecord.parse(truncate(answer))
    assert (short.header.tc, short.rr, short.header.id) == (1, [], DNSRecord.parse(query).header.id)
