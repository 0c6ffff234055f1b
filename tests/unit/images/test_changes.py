from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.errors import InvalidArgument
from barque.images.changes import apply_changes, split_words
from barque.models.image import RunConfig

SECOND = 10**9


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        (['CMD ["a", "b c"]'], {"Cmd": ["a", "b c"]}),
        (["CMD echo $HOME"], {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        (["cmd []"], {"Cmd": []}),
        (['CMD ["a", 1]'], {"Cmd": ["/bin/sh", "-c", '["a", 1]']}),
        (['ENTRYPOINT ["/x"]'], {"Entrypoint": ["/x"]}),
        (["ENV A=1 B=two", "ENV A=3"], {"Env": ["A=3", "B=two"]}),
        (["ENV A one two"], {"Env": ["A=one two"]}),
        (["ENV A='x y' B=\"p q\" C=r\\ s"], {"Env": ["A=x y", "B=p q", "C=r s"]}),
        (["ENV A=1", "ENV B=$A-${A}-${C:-d}-${A:+e}"], {"Env": ["A=1", "B=1-1-d-e"]}),
        (["ENV A=1", "ENV B='$A' C=\\$A"], {"Env": ["A=1", "B=$A", "C=$A"]}),
        (["EXPOSE 80 53/udp 8000-8001"],
         {"ExposedPorts": {"53/udp": {}, "80/tcp": {}, "8000/tcp": {}, "8001/tcp": {}}}),
        (['LABEL a=b "c d"=e', "LABEL a=f"], {"Labels": {"a": "f", "c d": "e"}}),
        (["ONBUILD RUN x"], {"OnBuild": ["RUN x"]}),
        (["STOPSIGNAL SIGQUIT"], {"StopSignal": "SIGQUIT"}),
        (["STOPSIGNAL 9"], {"StopSignal": "9"}),
        (["STOPSIGNAL SIGRTMIN+3"], {"StopSignal": "SIGRTMIN+3"}),
        (["USER me:us"], {"User": "me:us"}),
        (['VOLUME ["/a", "/b"]', "VOLUME /c"], {"Volumes": {"/a": {}, "/b": {}, "/c": {}}}),
        (["WORKDIR /a/b", "WORKDIR ../c"], {"WorkingDir": "/a/c"}),
        (["HEALTHCHECK NONE"], {"Healthcheck": {"Test": ["NONE"]}}),
        (["HEALTHCHECK --interval=1m30s --retries=3 CMD exit 1"],
         {"Healthcheck": {"Test": ["CMD-SHELL", "exit 1"], "Interval": 90 * SECOND, "Retries": 3}}),
        (['HEALTHCHECK CMD ["a"]'], {"Healthcheck": {"Test": ["CMD", "a"]}}),
        (["USER a\nWORKDIR /b"], {"User": "a", "WorkingDir": "/b"}),
    ],
)  # fmt: skip
def test_instructions(changes: list[str], config: dict[str, Any]) -> None:
    assert msgspec.to_builtins(apply_changes(RunConfig(), changes)) == config


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("FROM x", "FROM is not a valid change command"),
        ("CMD", "CMD requires at least one argument"),
        ("ENV A", "ENV must have two arguments"),
        ("ENV A=1 B", "can't find ="),
        ("ENV =1", "can not be blank"),
        ("ENV A='1", "a quote is open"),
        ("EXPOSE http", "invalid port"),
        ("EXPOSE 0", "invalid port"),
        ("EXPOSE 70000", "invalid port"),
        ("EXPOSE 80/foo", "invalid port"),
        ("ONBUILD ONBUILD x", "isn't allowed"),
        ("ONBUILD FROM x", "isn't allowed"),
        ("STOPSIGNAL SIGFOO", "invalid signal"),
        ("USER a b", "exactly one"),
        ('VOLUME [""]', "empty string"),
        ("HEALTHCHECK CMD", "HEALTHCHECK must read"),
        ("HEALTHCHECK --interval=1 CMD x", "invalid duration"),
        ("HEALTHCHECK --foo=1 CMD x", "invalid option"),
    ],
)
def test_refused(change: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message.replace("[", r"\[")):
        apply_changes(RunConfig(), [change])


def test_the_given_config_stays_as_it_is() -> None:
    config = RunConfig(env=["A=1"])
    apply_changes(config, ["ENV A=2"])
    assert config.env == ["A=1"]


@given(st.lists(st.from_regex(r"[a-z0-9=/]{1,8}", fullmatch=True)))
def test_words_without_quotes_come_back(words: list[str]) -> None:
    assert split_words(" ".join(words), {}) == words


@given(st.text(max_size=30))
def test_quoted_words_come_back(word: str) -> None:
    quoted = word.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$")
    assert split_words(f'"{quoted}"', {}) == [word]
