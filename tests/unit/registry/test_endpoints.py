"""Where registries are looked for, and what the administrator may say."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from barque.errors import InvalidArgument
from barque.registry.config import RegistryConfig, check_config
from barque.registry.endpoints import Endpoint, is_insecure, list_endpoints, make_tls_context


def configure(mirrors: list[str] = [], insecure: list[str] = []) -> RegistryConfig:  # noqa: B006
    return check_config(mirrors, insecure, downloads=3, uploads=5, attempts=5)


def test_hub_is_read_through_mirrors_and_written_directly() -> None:
    config = configure(["https://mirror.example/", "http://127.0.0.1:5001"])
    found = asyncio.run(list_endpoints("docker.io", config, push=False))
    assert found == [
        Endpoint("https://mirror.example", verify=True, mirror=True),
        Endpoint("http://127.0.0.1:5001", verify=False, mirror=True),
        Endpoint("https://registry-1.docker.io"),
    ]
    written = asyncio.run(list_endpoints("docker.io", config, push=True))
    assert written == [Endpoint("https://registry-1.docker.io")]


@pytest.mark.parametrize(
    ("host", "addresses", "insecure"),
    [
        ("localhost:5000", [], True),
        ("127.9.9.9", [], True),
        ("[::1]:5000", [], True),
        ("reg.example", [], False),
        ("reg.example", ["127.0.0.1"], True),
        ("reg.example", ["192.0.2.1"], False),
        ("lab:5000", [], True),
        ("lab:5001", [], False),
        ("10.1.2.3:80", [], True),
        ("11.1.2.3:80", [], False),
        ("any:7", [], True),
    ],
)
def test_what_is_insecure(host: str, addresses: list[str], insecure: bool) -> None:
    config = configure(insecure=["lab:5000", "10.0.0.0/8", "http://any/"])
    assert is_insecure(host, config, addresses) is insecure


def test_insecure_registries_are_tried_by_https_first() -> None:
    found = asyncio.run(list_endpoints("127.0.0.1:5000", RegistryConfig(), push=False))
    assert found == [
        Endpoint("https://127.0.0.1:5000", verify=False),
        Endpoint("http://127.0.0.1:5000"),
    ]


@pytest.mark.parametrize(
    ("mirrors", "insecure"),
    [
        (["mirror.example"], []),
        (["ftp://mirror"], []),
        (["https://mirror/path"], []),
        (["https://me:secret@mirror"], []),
        ([], ["ftp://x"]),
        ([], ["10.0.0.0/99"]),
        ([], [""]),
        ([], ["-x"]),
    ],
)
def test_configuration_that_makes_no_sense(mirrors: list[str], insecure: list[str]) -> None:
    with pytest.raises(InvalidArgument):
        configure(mirrors, insecure)


def test_numbers_have_bounds() -> None:
    for number in (0, -1, 101):
        with pytest.raises(InvalidArgument, match="max-concurrent-downloads"):
            check_config([], [], downloads=number, uploads=5, attempts=5)


def test_certificates_come_from_the_host_directory(tmp_path: Path) -> None:
    config = RegistryConfig(certs_dirs=(str(tmp_path),))
    context = make_tls_context("r:5000", config, verify=True)
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert make_tls_context("r:5000", config, verify=False).verify_mode is ssl.CERT_NONE
    (tmp_path / "r:5000").mkdir()
    (tmp_path / "r:5000" / "client.cert").write_text("x")
    with pytest.raises(InvalidArgument, match="missing key"):
        make_tls_context("r:5000", config, verify=True)
    (tmp_path / "r:5000" / "client.cert").rename(tmp_path / "r:5000" / "client.key")
    with pytest.raises(InvalidArgument, match="missing client certificate"):
        make_tls_context("r:5000", config, verify=True)
    (tmp_path / "r:5000" / "client.key").rename(tmp_path / "r:5000" / "ca.crt")
    with pytest.raises(InvalidArgument, match=r"ca\.crt"):
        make_tls_context("r:5000", config, verify=True)
