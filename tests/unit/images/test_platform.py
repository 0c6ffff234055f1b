from __future__ import annotations

import pytest

from barque.errors import InvalidArgument
from barque.images.platform import format_platform, parse_platform, rank


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("linux/amd64", "linux/amd64"),
        ("linux/x86_64", "linux/amd64"),
        ("linux/amd64/v1", "linux/amd64"),
        ("linux/aarch64", "linux/arm64"),
        ("linux/arm64/v8", "linux/arm64"),
        ("linux/arm", "linux/arm/v7"),
        ("linux/armhf", "linux/arm/v7"),
        ("linux/armel", "linux/arm/v6"),
        ("Linux/I386", "linux/386"),
        ("macos/arm64", "darwin/arm64"),
        ("arm64", "linux/arm64"),
    ],
)
def test_spellings(text: str, shown: str) -> None:
    assert format_platform(parse_platform(text)) == shown


@pytest.mark.parametrize("text", ["", "/", "linux/", "a/b/c/d", "linux/am d64", '{"os":"linux"}'])
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        parse_platform(text)


@pytest.mark.parametrize(
    ("candidate", "wanted", "order"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("linux/arm64", "linux/amd64", None),
        ("linux/386", "linux/amd64", None),
        ("windows/amd64", "linux/amd64", None),
        ("linux/amd64/v2", "linux/amd64", None),
        ("linux/amd64/v2", "linux/amd64/v3", 1),
        ("linux/amd64", "linux/amd64/v3", 2),
        ("linux/arm/v6", "linux/arm/v7", 1),
        ("linux/arm/v7", "linux/arm/v6", None),
        ("linux/arm64", "linux/arm64", 0),
        ("linux/arm/v7", "linux/arm64", 2),
        ("linux/s390x", "linux/s390x", 0),
    ],
)
def test_what_runs_where(candidate: str, wanted: str, order: int | None) -> None:
    assert rank(parse_platform(candidate), parse_platform(wanted)) == order
