"""The template language by itself; against the real thing in test_template_against_docker."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from barque.cli.template import Template, TemplateError
from barque.cli.template.values import GoMap, GoPointer, GoSlice, GoStruct

DATA: dict[str, Any] = {
    "Name": "web",
    "Pid": 42,
    "Up": True,
    "None": None,
    "List": ["a", "b", "c"],
    "Empty": [],
    "Map": {"z": "26", "a": "1"},
    "Deep": {"x": {"y": [1, 2.5, None]}},
}

OUTPUT = [
    ("", ""),
    ("text", "text"),
    ("{{.Name}}", "web"),
    ("{{.Name}} {{.Pid}} {{.Up}} {{.None}}", "web 42 true <no value>"),
    ("{{.List}} {{.Map}} {{.Deep}}", "[a b c] map[a:1 z:26] map[x:map[y:[1 2.5 <nil>]]]"),
    ("{{.Missing}}", "<no value>"),
    ("{{.Deep.x.y}}", "[1 2.5 <nil>]"),
    ("a {{- 1 -}} b", "a1b"),
    ("a {{/* c */}} b", "a  b"),
    ("a {{- /* c */ -}} b", "ab"),
    ("{{if .Up}}1{{else}}2{{end}}", "1"),
    ("{{if .Empty}}1{{else if .None}}2{{else}}3{{end}}", "3"),
    ("{{with .Name}}{{.}}{{end}}", "web"),
    ("{{with .None}}1{{else with .Pid}}{{.}}{{end}}", "42"),
    ("{{range .List}}{{.}},{{end}}", "a,b,c,"),
    ("{{range $i, $e := .List}}{{$i}}{{$e}}{{end}}", "0a1b2c"),
    ("{{range $k, $v := .Map}}{{$k}}={{$v}};{{end}}", "a=1;z=26;"),
    ("{{range .Empty}}x{{else}}none{{end}}", "none"),
    ("{{range 3}}{{.}}{{end}}", "012"),
    ("{{range .List}}{{if eq . `b`}}{{continue}}{{end}}{{.}}{{end}}", "ac"),
    ("{{range .List}}{{if eq . `b`}}{{break}}{{end}}{{.}}{{end}}", "a"),
    ("{{$x := 1}}{{range .List}}{{$x = .}}{{end}}{{$x}}", "c"),
    ("{{$x := 1}}{{with 2}}{{$x := 3}}{{$x}}{{end}}{{$x}}", "31"),
    ("{{define `T`}}<{{.}}>{{end}}{{template `T` .Pid}}", "<42>"),
    ("{{block `B` .Name}}{{.}}{{end}}", "web"),
    ("{{.Name | printf `%s-%s` `x`}}", "x-web"),
    ("{{(index .List 1)}}{{(.Deep.x).y}}", "b[1 2.5 <nil>]"),
    ("{{index .Map `z`}}{{index .Map `q`}}", "26<no value>"),
    ("{{len .List}} {{len .Name}} {{len .Map}}", "3 3 2"),
    ("{{slice .Name 1}} {{slice .List 1 2}}", "eb [b]"),
    ("{{and 1 0}} {{or 0 2}} {{not 0}} {{and .Up .Name}}", "0 2 true web"),
    ("{{or .Up (index .List 9)}}", "true"),
    (
        "{{eq 1 2 3 1}} {{ne 1 2}} {{lt 1 2}} {{le 2 2}} {{gt 2 1}} {{ge 1 2}}",
        "true " * 5 + "false",
    ),
    ("{{lt `a` `b`}} {{eq .Name `web`}}", "true true"),
    ("{{print 1 2 `a` `b`}}|{{println 1 `a`}}", "1 2ab|1 a\n"),
    ("{{printf `%5d|%-5d|%05d|%x|%+d` 42 42 42 42 42}}", "   42|42   |00042|2a|+42"),
    (
        "{{printf `%8.3f|%.1f|%e|%g|%v` 3.14159 2.55 1.5 1e21 1e6}}",
        "   3.142|2.5|1.500000e+00|1e+21|1e+06",
    ),
    ("{{printf `%q %v %T %t` `a` `b` 1 true}}", '"a" b int true'),
    ("{{printf `%d %z %s` `x` 1}}", "%!d(string=x) %!z(int=1) %!s(MISSING)"),
    ("{{printf `%d` 1 `x`}}", "1%!(EXTRA string=x)"),
    (
        "{{html `<a&'\"`}} {{js `'\"<`}} {{urlquery `a b&`}}",
        "&lt;a&amp;&#39;&#34; \\'\\\"\\u003C a+b%26",
    ),
    (
        "{{json .}}",
        '{"Deep":{"x":{"y":[1,2.5,null]}},"Empty":[],"List":["a","b","c"],"Map":{"a":"1","z":"26"},"Name":"web","None":null,"Pid":42,"Up":true}',
    ),
    ('{{json `<a>&"\n\u2028`}}', '"<a>&\\"\\n\\u2028"'),
    ("{{split `a,b` `,`}} {{join .List `-`}} {{join .Map `-`}}", "[a b] a-b-c 1-26"),
    ("{{title `ab cd`}} {{lower `AB`}} {{upper `ab`}}", "Ab Cd ab AB"),
    ("{{pad `x` 1 2}}| {{pad `` 1 2}}| {{truncate `abcdef` 3}}", " x  | | abc"),
    ("{{'a'}} {{0x1f}} {{1_000}} {{.5}} {{1i}}", "97 31 1000 0.5 (0+1i)"),
    ('{{"a\\tb\\x41\\u00e9"}}', "a\tbA\u00e9"),
]


@pytest.mark.parametrize(("text", "expected"), OUTPUT)
def test_output(text: str, expected: str) -> None:
    assert Template(text).execute(DATA) == expected


PARSE_ERRORS = [
    ("{{", "unclosed action"),
    ("{{.x", "unclosed action"),
    ("{{}}", "missing value for command"),
    ("{{end}}", "unexpected {{end}}"),
    ("{{if .x}}", "unexpected EOF"),
    ("{{nope}}", 'function "nope" not defined'),
    ("{{$x}}", 'undefined variable "$x"'),
    ("{{break}}", "{{break}} outside {{range}}"),
    ('{{"a}}', "unterminated quoted string"),
    ("{{1 | 2}}", "non executable command in pipeline stage 2"),
    ("{{/* x", "unclosed comment"),
    ("{{(.x}}", "unclosed left paren"),
]


@pytest.mark.parametrize(("text", "message"), PARSE_ERRORS)
def test_parse_error(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text)
    assert str(caught.value) == f"template: :1: {message}"


EXECUTION_ERRORS = [
    ("{{.Nope}}", '1:2: executing "" at <.Nope>: map has no entry for key "Nope"'),
    ("a\n {{.Deep.Nope}}", '2:8: executing "" at <.Deep.Nope>: map has no entry for key "Nope"'),
    (
        "{{index .List 9}}",
        '1:2: executing "" at <index .List 9>: error calling index: index out of range: 9',
    ),
    (
        "{{split .Name}}",
        '1:2: executing "" at <split>: wrong number of args for split: want 2 got 1',
    ),
    (
        "{{upper .Pid}}",
        '1:8: executing "" at <.Pid>: wrong type for value; expected string; got int',
    ),
    ("{{upper 5}}", '1:8: executing "" at <5>: expected string; found 5'),
    ("{{range .Name}}{{end}}", '1:8: executing "" at <.Name>: range can\'t iterate over web'),
    ("{{template `T`}}", '1:11: executing "" at <{{template "T"}}>: template "T" not defined'),
    (
        "{{eq 1 `a`}}",
        '1:2: executing "" at <eq 1 `a`>: error calling eq: incompatible types for comparison',
    ),
]


@pytest.mark.parametrize(("text", "message"), EXECUTION_ERRORS)
def test_execution_error(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as caught:
        Template(text).execute(DATA, missing_key_error=True)
    assert str(caught.value) == f"template: :{message}"


def test_endless_recursion_is_an_error() -> None:
    with pytest.raises(TemplateError, match="exceeded maximum template depth"):
        Template("{{define `R`}}{{template `R`}}{{end}}{{template `R`}}").execute(None)


def test_values_with_go_types() -> None:
    inner = GoStruct("t.Inner", {"A": 1, "B": GoSlice((), "[]string", nil=True)})
    outer = GoStruct(
        "t.Outer",
        {
            "In": GoPointer(inner, "t.Inner"),
            "Nil": GoPointer(None, "t.Inner"),
            "M": GoMap({}, "map[string]string", nil=True),
        },
        {"In": "in"},
        frozenset(("Nil",)),
        ("In",),
    )
    assert (
        Template("{{.In}} {{.A}} {{.In.B}} {{.Nil}} {{.M}}").execute(outer)
        == "{1 []} 1 [] <nil> map[]"
    )
    assert Template("{{json .In}} {{json .M}}").execute(outer) == '{"A":1,"B":null} null'
    with pytest.raises(TemplateError, match=r"nil pointer evaluating \*t.Inner.A"):
        Template("{{.Nil.A}}").execute(outer)
    with pytest.raises(TemplateError, match="can't evaluate field X in type t"):
        Template("{{.X}}").execute(outer)


_PIECES = st.lists(
    st.sampled_from(
        [
            "{{",
            "}}",
            "{{-",
            "-}}",
            " ",
            ".",
            ".a",
            "$x",
            ":=",
            "=",
            "|",
            "(",
            ")",
            "if",
            "else",
            "end",
            "range",
            "with",
            "template",
            "define",
            "block",
            "break",
            "1",
            "0x",
            "'",
            '"',
            "`",
            "\\",
            "/*",
            "*/",
            "len",
            "printf",
            ",",
            "\n",
            "\u00e9",
        ]
    ),
    max_size=20,
)


@given(_PIECES)
def test_any_text_is_a_template_or_a_template_error(pieces: list[str]) -> None:
    with contextlib.suppress(TemplateError):
        Template("".join(pieces)).execute({"a": 1})


@given(st.text())
def test_text_without_actions_is_copied(text: str) -> None:
    clean = text.replace("{{", "{")
    assert Template(clean).execute(None) == clean
