"""Template text to tokens (source: Go's text/template/parse lexer, as of Go 1.24)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# Kinds of tokens. Those in KEYWORDS are shown as <word> in error messages.
ERROR = "error"
BOOL = "bool"
CHAR = "char"
CHAR_CONSTANT = "char constant"
COMPLEX = "complex"
ASSIGN = "="
DECLARE = ":="
EOF = "EOF"
FIELD = "field"
IDENTIFIER = "identifier"
LEFT_DELIM = "{{"
LEFT_PAREN = "("
NUMBER = "number"
PIPE = "|"
RAW_STRING = "raw string"
RIGHT_DELIM = "}}"
RIGHT_PAREN = ")"
SPACE = "space"
STRING = "string"
TEXT = "text"
VARIABLE = "variable"
DOT = "."
NIL = "nil"
KEYWORDS = frozenset(
    (
        DOT,
        NIL,
        "block",
        "break",
        "continue",
        "define",
        "else",
        "end",
        "if",
        "range",
        "template",
        "with",
    )
)

_SPACES = " \t\r\n"
_END = ""  # what peeking past the end gives


class Token:
    """One lexical item: its kind, its offset in the text, its text, its line from 1."""

    __slots__ = ("kind", "line", "pos", "text")

    def __init__(self, kind: str, pos: int, text: str, line: int) -> None:
        self.kind = kind
        self.pos = pos
        self.text = text
        self.line = line

    def __str__(self) -> str:
        """Go's description of the item, for error messages."""
        if self.kind == EOF:
            return "EOF"
        if self.kind == ERROR:
            return self.text
        if self.kind in KEYWORDS:
            return f"<{self.text}>"
        from barque.cli.template.values import quote  # noqa: PLC0415 - errors only

        return quote(self.text[:10]) + "..." if len(self.text) > 10 else quote(self.text)


def is_alphanumeric(rune: str) -> bool:
    """Whether Go lets this character stand in an identifier."""
    return rune == "_" or rune.isalpha() or rune.isdecimal()


def describe_rune(rune: str) -> str:
    """Go's ``%#U``: U+0025 '%'."""
    if rune == _END:
        return "U+FFFFFFFFFFFFFFFF"
    shown = f" '{rune}'" if rune.isprintable() else ""
    return f"U+{ord(rune):04X}{shown}"


class Lexer:
    """Splits a template into tokens, one state method after the other."""

    def __init__(self, text: str) -> None:
        self.input = text
        self.pos = 0
        self.start = 0
        self.line = 1
        self.paren_depth = 0
        self.tokens: list[Token] = []

    def run(self) -> list[Token]:
        """All tokens; the last is EOF or ERROR."""
        state: Callable[[], object] | None = self._text
        while state is not None:
            state = state()  # type: ignore[assignment] # a state returns the next state
        return self.tokens

    def _emit(self, kind: str) -> None:
        text = self.input[self.start : self.pos]
        self.tokens.append(Token(kind, self.start, text, self.line))
        self.line += text.count("\n")
        self.start = self.pos

    def _ignore(self) -> None:
        self.line += self.input.count("\n", self.start, self.pos)
        self.start = self.pos

    def _fail(self, message: str) -> object:
        """Ends the text here; there is no next state."""
        self.tokens.append(Token(ERROR, self.start, message, self.line))
        return None

    def _peek(self) -> str:
        return self.input[self.pos : self.pos + 1]

    def _next(self) -> str:
        rune = self.input[self.pos : self.pos + 1]
        self.pos += len(rune)
        return rune

    def _accept(self, valid: str) -> bool:
        rune = self._peek()
        if rune and rune in valid:
            self.pos += 1
            return True
        return False

    def _accept_run(self, valid: str) -> None:
        while self._accept(valid):
            pass

    def _left_trim(self, at: int) -> bool:
        after = self.input[at : at + 2]
        return len(after) == 2 and after[0] == "-" and after[1] in _SPACES

    def _right_delim(self, at: int) -> tuple[bool, bool]:
        """Whether the action ends here, and whether it trims what follows."""
        if (
            self.input[at : at + 1] in _SPACES
            and self.input.startswith("-}}", at + 1)
            and at < len(self.input)
        ):
            return True, True
        return self.input.startswith("}}", at), False

    def _text(self) -> object:
        found = self.input.find("{{", self.pos)
        if found < 0:
            self.pos = len(self.input)
            if self.pos > self.start:
                self._emit(TEXT)
            self._emit(EOF)
            return None
        if found > self.pos:
            self.pos = found
            if self._left_trim(found + 2):
                self.pos = self.start + len(self.input[self.start : found].rstrip(_SPACES))
            if self.pos > self.start:
                self._emit(TEXT)
            self.pos = found
            self._ignore()
        return self._left()

    def _left(self) -> object:
        self.pos += 2
        marker = 2 if self._left_trim(self.pos) else 0
        if self.input.startswith("/*", self.pos + marker):
            self.pos += marker
            self._ignore()
            return self._comment()
        self._emit(LEFT_DELIM)
        self.pos += marker
        self._ignore()
        self.paren_depth = 0
        return self._inside

    def _comment(self) -> object:
        end = self.input.find("*/", self.pos + 2)
        if end < 0:
            return self._fail("unclosed comment")
        self.pos = end + 2
        ends, trim = self._right_delim(self.pos)
        if not ends:
            return self._fail("comment ends before closing delimiter")
        self.pos += 4 if trim else 2
        if trim:
            self._accept_run(_SPACES)
        self._ignore()
        return self._text

    def _right(self) -> object:
        _, trim = self._right_delim(self.pos)
        if trim:
            self.pos += 2
            self._ignore()
        self.pos += 2
        self._emit(RIGHT_DELIM)
        if trim:
            self._accept_run(_SPACES)
            self._ignore()
        return self._text

    def _inside(self) -> object:  # noqa: C901, PLR0911 - one branch per kind of token
        if self._right_delim(self.pos)[0]:
            if self.paren_depth == 0:
                return self._right()
            return self._fail("unclosed left paren")
        rune = self._next()
        if rune == _END:
            return self._fail("unclosed action")
        if rune in _SPACES:
            return self._space()
        if rune in "=|":
            self._emit(rune)
        elif rune == ":":
            if self._next() != "=":
                return self._fail("expected :=")
            self._emit(DECLARE)
        elif rune == '"':
            return self._quoted('"', STRING, "unterminated quoted string")
        elif rune == "`":
            end = self.input.find("`", self.pos)
            if end < 0:
                return self._fail("unterminated raw quoted string")
            self.pos = end + 1
            self._emit(RAW_STRING)
        elif rune == "'":
            return self._quoted("'", CHAR_CONSTANT, "unterminated character constant")
        elif rune == "$":
            return self._field_or_variable(VARIABLE)
        elif rune == "." and not self._peek().isdecimal() and self.pos < len(self.input):
            return self._field_or_variable(FIELD)
        elif rune in ".+-0123456789":
            self.pos -= 1
            return self._number()
        elif is_alphanumeric(rune):
            return self._identifier()
        elif rune == "(":
            self._emit(LEFT_PAREN)
            self.paren_depth += 1
        elif rune == ")":
            self.paren_depth -= 1
            if self.paren_depth < 0:
                return self._fail("unexpected right paren")
            self._emit(RIGHT_PAREN)
        elif rune.isascii() and rune.isprintable():
            self._emit(CHAR)
        else:
            return self._fail(f"unrecognized character in action: {describe_rune(rune)}")
        return self._inside

    def _space(self) -> object:
        spaces = 1
        while self._peek() and self._peek() in _SPACES:
            self.pos += 1
            spaces += 1
        if self._right_delim(self.pos - 1)[1]:
            self.pos -= 1
            if spaces == 1:
                return self._right()
        self._emit(SPACE)
        return self._inside

    def _at_terminator(self) -> bool:
        rune = self._peek()
        return (
            rune == _END
            or rune in _SPACES
            or rune in ".,|:)("
            or self.input.startswith("}}", self.pos)
        )

    def _identifier(self) -> object:
        while self._peek() and is_alphanumeric(self._peek()):
            self.pos += 1
        if not self._at_terminator():
            return self._fail(f"bad character {describe_rune(self._peek())}")
        word = self.input[self.start : self.pos]
        if word in KEYWORDS:
            self._emit(word)
        elif word in ("true", "false"):
            self._emit(BOOL)
        else:
            self._emit(IDENTIFIER)
        return self._inside

    def _field_or_variable(self, kind: str) -> object:
        if self._at_terminator():  # just "." or "$"
            self._emit(VARIABLE if kind == VARIABLE else DOT)
            return self._inside
        while self._peek() and is_alphanumeric(self._peek()):
            self.pos += 1
        if not self._at_terminator():
            return self._fail(f"bad character {describe_rune(self._peek())}")
        self._emit(kind)
        return self._inside

    def _quoted(self, mark: str, kind: str, unterminated: str) -> object:
        while (rune := self._next()) != mark:
            if rune == "\\":
                rune = self._next() or "\n"
                if rune != "\n":
                    continue
            if rune in (_END, "\n"):
                return self._fail(unterminated)
        self._emit(kind)
        return self._inside

    def _number(self) -> object:
        if not self._scan_number():
            return self._bad_number()
        if self._peek() and self._peek() in "+-":  # 1+2i
            if not self._scan_number() or self.input[self.pos - 1] != "i":
                return self._bad_number()
            self._emit(COMPLEX)
        else:
            self._emit(NUMBER)
        return self._inside

    def _bad_number(self) -> object:
        from barque.cli.template.values import quote  # noqa: PLC0415 - errors only

        return self._fail(f"bad number syntax: {quote(self.input[self.start : self.pos])}")

    def _scan_number(self) -> bool:
        self._accept("+-")
        digits = "0123456789_"
        if self._accept("0"):
            if self._accept("xX"):
                digits = "0123456789abcdefABCDEF_"
            elif self._accept("oO"):
                digits = "01234567_"
            elif self._accept("bB"):
                digits = "01_"
        self._accept_run(digits)
        if self._accept("."):
            self._accept_run(digits)
        if len(digits) == 11 and self._accept("eE"):
            self._accept("+-")
            self._accept_run("0123456789_")
        if len(digits) == 23 and self._accept("pP"):
            self._accept("+-")
            self._accept_run("0123456789_")
        self._accept("i")
        if self._peek() and is_alphanumeric(self._peek()):
            self.pos += 1
            return False
        return True
