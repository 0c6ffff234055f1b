from __future__ import annotations

import pytest

from barque.engine.security import SecurityOptions, parse_security_options
from barque.errors import InvalidArgument


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (None, SecurityOptions()),
        ([], SecurityOptions()),
        (["no-new-privileges"], SecurityOptions(no_new_privileges=True)),
        (["no-new-privileges=true"], SecurityOptions(no_new_privileges=True)),
        (["no-new-privileges:true"], SecurityOptions(no_new_privileges=True)),
        (["no-new-privileges=0"], SecurityOptions(no_new_privileges=False)),
        (["seccomp=unconfined"], SecurityOptions(seccomp="unconfined")),
        (['seccomp={"a":"b=c"}'], SecurityOptions(seccomp='{"a":"b=c"}')),
        (["apparmor=docker-default"], SecurityOptions(apparmor="docker-default")),
        (
            ["label=type:foo", "label=disable", "disable"],
            SecurityOptions(labels=("type:foo", "disable", "disable")),
        ),
        (["writable-cgroups"], SecurityOptions(writable_cgroups=True)),
        (["systemd=true"], SecurityOptions(systemd=True)),
        (["systemd=false"], SecurityOptions()),
        (["writable-cgroups=false"], SecurityOptions(writable_cgroups=False)),
        (["systempaths=unconfined"], SecurityOptions(unmask=("all",))),
        (["unmask=ALL", "mask=/a:/b/"], SecurityOptions(unmask=("all",), mask=("/a", "/b"))),
        (["unmask=/a/*", "unmask=/b"], SecurityOptions(unmask=("/a/*", "/b"))),
    ],
)
def test_options(options: list[str] | None, expected: SecurityOptions) -> None:
    assert parse_security_options(options) == expected


@pytest.mark.parametrize(
    ("option", "text"),
    [
        ("fast", 'invalid --security-opt 1: "fast"'),
        ("", 'invalid --security-opt 1: ""'),
        ("speed=fast", 'invalid --security-opt 2: "speed=fast"'),
        ("systempaths=confined", 'invalid --security-opt 2: "systempaths=confined"'),
        (
            "mask=a",
            'invalid --security-opt 2: "mask=a": give absolute paths, with colons between them',
        ),
        (
            "mask=/a/../b",
            (
                'invalid --security-opt 2: "mask=/a/../b": give absolute paths, with colons '
                "between them"
            ),
        ),
        ("no-new-privileges=maybe", 'invalid --security-opt 2: "no-new-privileges=maybe"'),
    ],
)
def test_what_is_wrong_is_refused_in_dockers_words(option: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_security_options([option])
    assert str(caught.value) == text
