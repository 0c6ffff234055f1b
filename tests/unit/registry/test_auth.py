"""Challenges, tokens, and where credentials may go."""

from __future__ import annotations

import asyncio
import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.registry.auth import (
    Authorizer,
    Credentials,
    TokenReply,
    TokenRequest,
    decode_credentials,
    parse_challenges,
    plan_token,
)
from barque.registry.errors import RegistryError

ME = Credentials(username="me", password="secret")
SCOPE = "repository:library/x:pull"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:a/b:pull,push"',
            [
                (
                    "bearer",
                    {
                        "realm": "https://auth.docker.io/token",
                        "service": "registry.docker.io",
                        "scope": "repository:a/b:pull,push",
                    },
                )
            ],
        ),
        (
            'Negotiate, Basic realm="a, b", Bearer realm=plain , service="q\\"uoted"',
            [
                ("negotiate", {}),
                ("basic", {"realm": "a, b"}),
                ("bearer", {"realm": "plain", "service": 'q"uoted'}),
            ],
        ),
        ("", []),
        ('="x"', []),
    ],
)
def test_challenges(header: str, expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [tuple(found) for found in parse_challenges([header])] == expected


@given(st.text())
def test_any_header_is_parsed_without_an_error(header: str) -> None:
    parse_challenges([header])


def encode(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def test_credentials_are_read_as_docker_reads_them() -> None:
    assert decode_credentials(encode({"username": "me", "password": "secret"})) == ME
    pair = base64.b64encode(b"me:secret").decode()
    assert decode_credentials(encode({"auth": pair})).password == "secret"
    assert decode_credentials(encode({"identitytoken": "t"}).rstrip("=")).identitytoken == "t"
    for nonsense in ("", "!", "bm90IGpzb24=", encode([1])):
        assert not decode_credentials(nonsense)


def test_a_token_is_asked_for_with_scope_and_account() -> None:
    parameters = {"realm": "https://auth.example/token?x=1", "service": "s"}
    request = plan_token(parameters, [SCOPE], ME, plain_allowed=False)
    assert request.method == "GET"
    assert request.url == (
        "https://auth.example/token?x=1&service=s&scope=repository%3Alibrary%2Fx%3Apull&account=me"
    )
    assert request.headers["Authorization"] == "Basic bWU6c2VjcmV0"
    anonymous = plan_token(parameters, [SCOPE], Credentials(), plain_allowed=False)
    assert (anonymous.headers, "account" in anonymous.url) == ({}, False)


def test_an_identity_token_goes_into_the_form_and_not_into_the_url() -> None:
    parameters = {"realm": "https://auth.example/token", "service": "s"}
    given_token = Credentials(username="<token>", identitytoken="it")
    request = plan_token(parameters, [SCOPE], given_token, plain_allowed=False)
    assert (request.method, request.url) == ("POST", "https://auth.example/token")
    assert request.form["refresh_token"] == "it"
    assert request.headers == {}


@pytest.mark.parametrize(
    "realm",
    [
        "http://auth.example/token",
        "http://127.0.0.1/token",
        "ftp://auth.example",
        "file:///etc/passwd",
        "https://me@auth.example/",
        "//auth.example",
        "https:///token",
    ],
)
def test_a_realm_that_is_not_https_gets_nothing(realm: str) -> None:
    with pytest.raises(RegistryError, match="refused"):
        plan_token({"realm": realm}, [SCOPE], ME, plain_allowed=False)


class Realm:
    """Answers token requests, and remembers them."""

    def __init__(self, *replies: TokenReply) -> None:
        self.replies = list(replies)
        self.requests: list[TokenRequest] = []

    async def send(self, request: TokenRequest) -> TokenReply:
        self.requests.append(request)
        return self.replies.pop(0)


def test_tokens_are_kept_for_their_scopes_only() -> None:
    async def test() -> None:
        realm = Realm(*[TokenReply(200, b'{"token":"t%d","expires_in":300}' % n) for n in (1, 2)])
        authorizer = Authorizer("r.example", ME, realm.send, lambda _host: False)
        challenges = parse_challenges(['Bearer realm="https://r.example/t",service="s"'])
        assert authorizer.get_header([SCOPE]) == ""
        assert await authorizer.answer(challenges, [SCOPE]) == "Bearer t1"
        assert authorizer.get_header([SCOPE]) == "Bearer t1"
        assert authorizer.get_header(["repository:other:pull"]) == ""
        assert await authorizer.answer(challenges, ["repository:other:pull"]) == "Bearer t2"

    asyncio.run(test())


def test_plain_realms_need_both_hosts_to_be_insecure() -> None:
    async def test() -> None:
        challenges = parse_challenges(['Bearer realm="http://auth.lab:5001/token"'])
        for insecure, allowed in (
            ({"reg.lab:5000", "auth.lab:5001"}, True),
            ({"reg.lab:5000"}, False),
            ({"auth.lab:5001"}, False),
        ):
            realm = Realm(TokenReply(200, b'{"token":"t"}'))
            authorizer = Authorizer("reg.lab:5000", ME, realm.send, insecure.__contains__)
            if allowed:
                assert await authorizer.answer(challenges, [SCOPE]) == "Bearer t"
            else:
                with pytest.raises(RegistryError, match="refused"):
                    await authorizer.answer(challenges, [SCOPE])
                assert realm.requests == []

    asyncio.run(test())


@pytest.mark.parametrize("body", [b"{}", b"[]", b"no", b'{"token":""}', '{"token":"é"}'.encode()])
def test_a_realm_that_gives_no_token_is_an_error(body: bytes) -> None:
    async def test() -> None:
        authorizer = Authorizer("r", ME, Realm(TokenReply(200, body)).send, lambda _host: False)
        with pytest.raises(RegistryError):
            await authorizer.answer(parse_challenges(['Bearer realm="https://r/t"']), [SCOPE])

    asyncio.run(test())


def test_basic_is_tried_once_and_needs_a_name() -> None:
    async def test() -> None:
        challenges = parse_challenges(["Basic realm=x"])
        authorizer = Authorizer("r", ME, Realm().send, lambda _host: False)
        assert await authorizer.answer(challenges, []) == "Basic bWU6c2VjcmV0"
        with pytest.raises(RegistryError, match="authentication required"):
            await authorizer.answer(challenges, [])
        nobody = Authorizer("r", Credentials(), Realm().send, lambda _host: False)
        with pytest.raises(RegistryError, match="no basic auth credentials"):
            await nobody.answer(challenges, [])

    asyncio.run(test())
