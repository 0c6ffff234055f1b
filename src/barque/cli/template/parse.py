"""Tokens to a syntax tree (source: Go's text/template/parse, as of Go 1.24)."""

from __future__ import annotations

from barque.cli.template import lex
from barque.cli.template.errors import TemplateError
from barque.cli.template.functions import FUNCTIONS
from barque.cli.template.nodes import (
    ActionNode,
    BranchNode,
    ChainNode,
    CommandNode,
    ConstantNode,
    DotNode,
    FieldNode,
    IdentifierNode,
    ListNode,
    NilNode,
    Node,
    PipeNode,
    TemplateNode,
    TextNode,
    VariableNode,
    WordNode,
)
from barque.cli.template.values import quote, unquote

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_OPERANDS = frozenset(
    (
        lex.BOOL,
        lex.CHAR_CONSTANT,
        lex.COMPLEX,
        lex.DOT,
        lex.FIELD,
        lex.IDENTIFIER,
        lex.NUMBER,
        lex.NIL,
        lex.RAW_STRING,
        lex.STRING,
        lex.VARIABLE,
        lex.LEFT_PAREN,
    )
)


def parse(text: str, name: str) -> dict[str, ListNode]:
    """All templates that ``text`` defines, by name; the text itself is under ``name``."""
    parser = _Parser(lex.Lexer(text).run(), name)
    root = parser.parse_root()
    parser.define(name, root)
    return parser.trees


def parse_number(text: str, kind: str) -> Any:
    """The value of a number's spelling; raises ``ValueError`` if it has none."""
    if kind == lex.CHAR_CONSTANT:
        rune = unquote(text)
        if len(rune) != 1:
            raise ValueError
        return ord(rune)
    if kind == lex.COMPLEX or text.endswith("i"):
        return complex(text.replace("_", "").replace("i", "j"))
    digits = text.lower().lstrip("+-")
    if digits.startswith("0x") and "p" in digits:
        return float.fromhex(text.replace("_", ""))
    prefixed = digits[:2] in ("0x", "0o", "0b")
    if not prefixed and any(mark in digits for mark in ".e"):
        return float(text)
    octal = not prefixed and len(digits) > 1 and digits[0] == "0"
    value = int(text, 8 if octal else 0)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError
    return value


class _Parser:
    """A recursive descent parser with Go's look-ahead and Go's messages."""

    def __init__(self, tokens: list[lex.Token], name: str) -> None:
        self.tokens = tokens
        self.name = name
        self.at = 0
        self.seen = 0
        self.variables = ["$"]
        self.range_depth = 0
        self.action_line = 0
        self.trees: dict[str, ListNode] = {}

    # --- tokens

    def next(self) -> lex.Token:
        token = self.tokens[min(self.at, len(self.tokens) - 1)]
        self.at += 1
        self.seen = max(self.seen, self.at)
        return token

    def backup(self) -> None:
        self.at -= 1

    def peek(self) -> lex.Token:
        token = self.next()
        self.at -= 1
        return token

    def next_token(self) -> lex.Token:
        """The next token that is not a space."""
        while (token := self.next()).kind == lex.SPACE:
            pass
        return token

    def peek_token(self) -> lex.Token:
        token = self.next_token()
        self.at -= 1
        return token

    def fail(self, message: str) -> NoReturn:
        line = self.tokens[min(max(self.seen, 1), len(self.tokens)) - 1].line
        raise TemplateError(f"template: {self.name}:{line}: {message}")

    def unexpected(self, token: lex.Token, context: str) -> NoReturn:
        if token.kind == lex.ERROR:
            extra = ""
            if self.action_line not in (0, token.line):
                extra = f" in action started at {self.name}:{self.action_line}"
                if token.text.endswith(" action"):
                    extra = extra[len(" in action") :]
            self.fail(f"{token}{extra}")
        self.fail(f"unexpected {token} in {context}")

    def expect(self, kind: str, context: str) -> lex.Token:
        token = self.next_token()
        if token.kind != kind:
            self.unexpected(token, context)
        return token

    # --- templates

    def define(self, name: str, root: ListNode) -> None:
        old = self.trees.get(name)
        if old is None or _is_empty(old):
            self.trees[name] = root
        elif not _is_empty(root):
            self.fail(f"template: multiple definition of template {quote(name)}")

    def parse_root(self) -> ListNode:
        root = ListNode(self.peek().pos)
        while self.peek().kind != lex.EOF:
            if self.peek().kind == lex.LEFT_DELIM:
                delim = self.at
                self.next()
                if self.next_token().kind == "define":
                    self.parse_definition()
                    continue
                self.at = delim
            node = self.text_or_action()
            if isinstance(node, WordNode) and node.word in ("end", "else"):
                self.fail(f"unexpected {node}")
            root.nodes.append(node)
        return root

    def parse_definition(self) -> None:
        context = "define clause"
        name = self.template_name(self.next_token(), context)
        self.expect(lex.RIGHT_DELIM, context)
        self.define(name, self.parse_separately(context))

    def parse_separately(self, context: str) -> ListNode:
        """The body of a template inside this text: variables of outside are not seen."""
        outer = self.variables, self.range_depth
        self.variables, self.range_depth = ["$"], 0
        body, end = self.item_list()
        if end.word != "end":
            self.fail(f"unexpected {end} in {context}")
        self.variables, self.range_depth = outer
        return body

    def item_list(self) -> tuple[ListNode, WordNode]:
        body = ListNode(self.peek_token().pos)
        while self.peek_token().kind != lex.EOF:
            node = self.text_or_action()
            if isinstance(node, WordNode) and node.word in ("end", "else"):
                return body, node
            body.nodes.append(node)
        return self.fail("unexpected EOF")

    def text_or_action(self) -> Node:
        token = self.next_token()
        if token.kind == lex.TEXT:
            return TextNode(token.pos, token.text)
        if token.kind == lex.LEFT_DELIM:
            self.action_line = token.line
            try:
                return self.action()
            finally:
                self.action_line = 0
        return self.unexpected(token, "input")

    # --- actions

    def action(self) -> Node:
        token = self.next_token()
        match token.kind:
            case "if" | "with" | "range":
                return self.branch(token.kind)
            case "else":
                peek = self.peek_token()
                if peek.kind not in ("if", "with"):
                    peek = self.expect(lex.RIGHT_DELIM, "else")
                return WordNode(peek.pos, "else")
            case "end":
                return WordNode(self.expect(lex.RIGHT_DELIM, "end").pos, "end")
            case "break" | "continue":
                return self.leave_range(token)
            case "template":
                return self.template()
            case "block":
                return self.block()
        self.backup()
        return ActionNode(self.peek().pos, self.pipeline("command", lex.RIGHT_DELIM))

    def leave_range(self, token: lex.Token) -> Node:
        closing = self.next_token()
        shown = "{{" + token.kind + "}}"
        if closing.kind != lex.RIGHT_DELIM:
            self.unexpected(closing, shown)
        if self.range_depth == 0:
            self.fail(f"{shown} outside {{{{range}}}}")
        return WordNode(token.pos, token.kind)

    def branch(self, word: str) -> BranchNode:
        known = len(self.variables)
        pipe = self.pipeline(word, lex.RIGHT_DELIM)
        self.range_depth += word == "range"
        body, end = self.item_list()
        self.range_depth -= word == "range"
        otherwise: ListNode | None = None
        if end.word == "else":
            if word in ("if", "with") and self.peek().kind == word:
                # {{else if}} is {{else}}{{if}} whose {{end}} serves both.
                self.next()
                otherwise = ListNode(end.pos)
                otherwise.nodes.append(self.branch(word))
            else:
                otherwise, end = self.item_list()
                if end.word != "end":
                    self.fail(f"expected end; found {end}")
        del self.variables[known:]
        return BranchNode(pipe.pos, word, pipe, body, otherwise)

    def template_name(self, token: lex.Token, context: str) -> str:
        if token.kind not in (lex.STRING, lex.RAW_STRING):
            self.unexpected(token, context)
        return self.unquote(token.text)

    def unquote(self, text: str) -> str:
        try:
            return unquote(text)
        except ValueError:
            self.fail("invalid syntax")

    def template(self) -> TemplateNode:
        token = self.next_token()
        name = self.template_name(token, "template clause")
        pipe = None
        if self.next_token().kind != lex.RIGHT_DELIM:
            self.backup()
            pipe = self.pipeline("template clause", lex.RIGHT_DELIM)
        return TemplateNode(token.pos, name, pipe)

    def block(self) -> TemplateNode:
        context = "block clause"
        token = self.next_token()
        name = self.template_name(token, context)
        pipe = self.pipeline(context, lex.RIGHT_DELIM)
        self.define(name, self.parse_separately(context))
        return TemplateNode(token.pos, name, pipe)

    # --- pipelines

    def pipeline(self, context: str, end: str) -> PipeNode:
        pipe = PipeNode(self.peek_token().pos)
        self.declarations(pipe, context)
        while True:
            token = self.next_token()
            if token.kind == end:
                self.check_pipeline(pipe, context)
                return pipe
            if token.kind not in _OPERANDS:
                self.unexpected(token, context)
            self.backup()
            pipe.commands.append(self.command())

    def declarations(self, pipe: PipeNode, context: str) -> None:
        while (variable := self.peek_token()).kind == lex.VARIABLE:
            self.next_token()
            mark = self.at
            following = self.next_token()
            comma = following.kind == lex.CHAR and following.text == ","
            if not comma and following.kind not in (lex.ASSIGN, lex.DECLARE):
                # An argument, not a declaration. Give back the variable; the space after
                # it stays where it is.
                self.at = mark - 1
                return
            pipe.variables.append(VariableNode(variable.pos, [variable.text]))
            self.variables.append(variable.text)
            if not comma:
                pipe.assign = following.kind == lex.ASSIGN
                return
            if context != "range" or len(pipe.variables) > 1:
                self.fail(f"too many declarations in {context}")
            if self.peek_token().kind not in (lex.VARIABLE, lex.RIGHT_DELIM, lex.RIGHT_PAREN):
                self.fail("range can only initialize variables")

    def check_pipeline(self, pipe: PipeNode, context: str) -> None:
        if not pipe.commands:
            self.fail(f"missing value for {context}")
        for stage, command in enumerate(pipe.commands[1:], 2):
            if isinstance(command.args[0], (ConstantNode, DotNode, NilNode)):
                self.fail(f"non executable command in pipeline stage {stage}")

    def command(self) -> CommandNode:
        command = CommandNode(self.peek_token().pos)
        while True:
            self.peek_token()
            operand = self.operand()
            if operand is not None:
                command.args.append(operand)
            token = self.next()
            if token.kind == lex.SPACE:
                continue
            if token.kind in (lex.RIGHT_DELIM, lex.RIGHT_PAREN):
                self.backup()
            elif token.kind != lex.PIPE:
                self.unexpected(token, "operand")
            break
        if not command.args:
            self.fail("empty command")
        return command

    def operand(self) -> Node | None:
        node = self.term()
        if node is None or self.peek().kind != lex.FIELD:
            return node
        pos = self.peek().pos
        names = []
        while self.peek().kind == lex.FIELD:
            names.append(self.next().text[1:])
        if isinstance(node, FieldNode):
            return FieldNode(pos, node.names + names)
        if isinstance(node, VariableNode):
            return VariableNode(pos, node.names + names)
        if isinstance(node, (ConstantNode, NilNode, DotNode)):
            self.fail(f"unexpected . after term {quote(str(node))}")
        return ChainNode(pos, node, names)

    def term(self) -> Node | None:
        token = self.next_token()
        match token.kind:
            case lex.IDENTIFIER:
                if token.text not in FUNCTIONS:
                    self.fail(f"function {quote(token.text)} not defined")
                return IdentifierNode(token.pos, token.text)
            case lex.DOT:
                return DotNode(token.pos)
            case lex.NIL:
                return NilNode(token.pos)
            case lex.VARIABLE:
                if token.text not in self.variables:
                    self.fail(f"undefined variable {quote(token.text)}")
                return VariableNode(token.pos, [token.text])
            case lex.FIELD:
                return FieldNode(token.pos, [token.text[1:]])
            case lex.BOOL:
                return ConstantNode(token.pos, token.text, token.text == "true")
            case lex.CHAR_CONSTANT | lex.COMPLEX | lex.NUMBER:
                return self.number(token)
            case lex.LEFT_PAREN:
                return self.pipeline("parenthesized pipeline", lex.RIGHT_PAREN)
            case lex.STRING | lex.RAW_STRING:
                return ConstantNode(token.pos, token.text, self.unquote(token.text))
        self.backup()
        return None

    def number(self, token: lex.Token) -> ConstantNode:
        try:
            return ConstantNode(token.pos, token.text, parse_number(token.text, token.kind))
        except ValueError:
            if token.kind == lex.CHAR_CONSTANT:
                self.fail(f"malformed character constant: {token.text}")
            if token.text.replace("_", "").lstrip("+-").isdecimal():
                self.fail(f"integer overflow: {quote(token.text)}")
            self.fail(f"illegal number syntax: {quote(token.text)}")


def _is_empty(node: Node) -> bool:
    """Whether a tree is nothing but blanks, so that another definition may replace it."""
    if isinstance(node, ListNode):
        return all(map(_is_empty, node.nodes))
    return isinstance(node, TextNode) and not node.text.strip()
