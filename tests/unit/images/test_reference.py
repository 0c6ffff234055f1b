from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.errors import InvalidArgument
from barque.images.reference import Reference, parse_reference, parse_tag_target

HEX = "a" * 64


@pytest.mark.parametrize(
    ("text", "whole", "familiar"),
    [
        ("alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("alpine:3.20", "docker.io/library/alpine:3.20", "alpine:3.20"),
        ("library/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("index.docker.io/alpine", "docker.io/library/alpine:latest", "alpine:latest"),
        ("me/app:1", "docker.io/me/app:1", "me/app:1"),
        ("docker.io/library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("foo.bar:5000", "docker.io/library/foo.bar:5000", "foo.bar:5000"),
        ("foo:5000/app", "foo:5000/app:latest", "foo:5000/app:latest"),
        ("Reg/app", "Reg/app:latest", "Reg/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        (f"alpine@sha256:{HEX}", f"docker.io/library/alpine@sha256:{HEX}", f"alpine@sha256:{HEX}"),
        (f"a:1@sha256:{HEX}", f"docker.io/library/a@sha256:{HEX}", f"a@sha256:{HEX}"),
        ("a--b__c.d_e", "docker.io/library/a--b__c.d_e:latest", "a--b__c.d_e:latest"),
    ],
)
def test_normalising(text: str, whole: str, familiar: str) -> None:
    reference = parse_reference(text).stored
    assert str(reference) == whole
    assert reference.familiar == familiar


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "invalid reference format"),
        ("UPPER", "repository name (library/UPPER) must be lowercase"),
        ("reg.io/UPPER/x", "repository name (UPPER/x) must be lowercase"),
        (HEX, "cannot specify 64-byte hexadecimal strings"),
        ("a:", "invalid reference format"),
        ("a:b:c", "invalid reference format"),
        ("a..b", "invalid reference format"),
        ("a___b", "invalid reference format"),
        ("-a", "invalid reference format"),
        ("a/", "invalid reference format"),
        ("a//b", "invalid reference format"),
        ("a:" + "t" * 129, "invalid reference format"),
        ("a" * 256, "must not be more than 255"),
        ("a@sha256:" + "a" * 32, "digest length"),
        ("a@sha256:" + "A" * 64, "digest format"),
        ("a@foo:" + "a" * 64, "unsupported digest"),
        ("a\n", "invalid reference format"),
        ("../a", "invalid reference format"),
        ("a b", "invalid reference format"),
    ],
)
def test_refusing(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message.replace("(", r"\(").replace(")", r"\)")):
        parse_reference(text)


@pytest.mark.parametrize(
    ("repository", "tag", "familiar"),
    [("a", "", "a:latest"), ("a", "b", "a:b"), ("a:c", "", "a:c"), ("a:c", "b", "a:b")],
)
def test_tag_targets(repository: str, tag: str, familiar: str) -> None:
    assert parse_tag_target(repository, tag).familiar == familiar


@pytest.mark.parametrize(
    ("repository", "tag"), [(f"a@sha256:{HEX}", ""), ("a", "-"), ("sha256", "x")]
)
def test_refused_tag_targets(repository: str, tag: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_tag_target(repository, tag)


components = st.from_regex(r"[a-z0-9]{1,5}((\.|_|__|-{1,2})[a-z0-9]{1,5}){0,2}", fullmatch=True)
domains = st.sampled_from(["docker.io", "localhost", "reg.example.com", "reg:5000", "[::1]:80"])
tags = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,10}", fullmatch=True)
digests = st.from_regex(r"sha256:[0-9a-f]{64}", fullmatch=True)


@given(
    domains,
    st.lists(components, min_size=2, max_size=4).map("/".join),
    tags | st.just(""),
    digests | st.just(""),
)
def test_both_forms_name_the_same(domain: str, path: str, tag: str, digest: str) -> None:
    reference = Reference(domain, path, tag, digest)
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar) == reference


@given(st.text(max_size=40))
def test_no_text_does_worse_than_be_refused(text: str) -> None:
    try:
        reference = parse_reference(text)
    except InvalidArgument:
        return
    assert parse_reference(str(reference)) == reference
    assert parse_reference(reference.familiar).stored == reference.stored
