"""Messages to nf_tables, taken apart again."""

from __future__ import annotations

from barque.kernel import nftables as nft
from barque.kernel.netlink import NLM_F_EXCL, parse_attributes


def test_elements_are_put_together_by_set() -> None:
    elements = [
        nft.Element("ports", b"\x06\0\0\0", b"\x0a\0\0\2"),
        nft.Element("open", b"\x0a\0\0\2"),
        nft.Element("ports", b"\x11\0\0\0", b"\x0a\0\0\3"),
    ]
    bodies = nft.encode_elements("barque-x", elements)
    assert list(bodies) == ["ports", "open"]
    fields = parse_attributes(bodies["open"])
    assert fields[nft.NFTA_SET_ELEM_LIST_TABLE] == b"barque-x\0"
    assert fields[nft.NFTA_SET_ELEM_LIST_SET] == b"open\0"
    entry = parse_attributes(fields[nft.NFTA_SET_ELEM_LIST_ELEMENTS])[nft.NFTA_LIST_ELEM]
    key = parse_attributes(parse_attributes(entry)[nft.NFTA_SET_ELEM_KEY])
    assert key == {nft.NFTA_DATA_VALUE: b"\x0a\0\0\2"}
    assert nft.NFTA_SET_ELEM_DATA not in parse_attributes(entry)


def test_fields_of_a_concatenation_are_padded() -> None:
    assert nft.pack_fields(b"\x06", b"\x1f\x90", b"\x0a\0\0\2") == bytes.fromhex(
        "060000001f9000000a000002"
    )


def test_a_redirection_is_one_rule_for_each_protocol() -> None:
    targets = [(17, 4000), (6, 4001)]

    def kinds(*, replace: bool) -> list[int]:
        batch = nft.redirect_locally("t", b"\x7f\0\0\x0b", 53, targets, replace=replace)
        return [kind & 0xFF for kind, *_ in batch]

    made = [nft.NFT_MSG_NEWTABLE, nft.NFT_MSG_NEWCHAIN, nft.NFT_MSG_NEWRULE, nft.NFT_MSG_NEWRULE]
    assert kinds(replace=False) == made
    assert kinds(replace=True) == [nft.NFT_MSG_DELTABLE, *made]
    (_, flags, family, _), *_ = nft.redirect_locally("t", b"\x7f\0\0\x0b", 53, [], replace=False)
    assert (flags & NLM_F_EXCL, family) == (NLM_F_EXCL, nft.NFPROTO_IPV4)
