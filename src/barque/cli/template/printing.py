"""Go's fmt: how values print (source: https://pkg.go.dev/fmt)."""

from __future__ import annotations

from barque.cli.template.values import (
    Boxed,
    GoDuration,
    GoMap,
    GoObject,
    GoPointer,
    GoSlice,
    GoStruct,
    GoTime,
    NoValue,
    quote,
    type_name,
    unbox,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_DIGITS = "0123456789"


def show(value: Any) -> str:
    """What ``{{value}}`` prints."""
    value = unbox(value)
    if value is None or isinstance(value, NoValue):
        return "<no value>"
    while isinstance(value, GoPointer):
        if value.value is None:
            return "<nil>"
        value = value.value
    return plain(value)


def sprint(values: list[Any]) -> str:
    """Go's Sprint: operands run together, with a space between two that are not strings."""
    parts: list[str] = []
    after_string = True
    for value in map(unbox, values):
        is_string = isinstance(value, str) and type_name(value) == "string"
        if parts and not is_string and not after_string:
            parts.append(" ")
        parts.append(plain(value))
        after_string = is_string
    return "".join(parts)


def sprintln(values: list[Any]) -> str:
    """Go's Sprintln: operands with spaces between, and a newline."""
    return " ".join(map(plain, values)) + "\n"


def plain(value: Any, *, names: bool = False, depth: int = 0) -> str:
    """Go's ``%v`` (``%+v`` with ``names``)."""
    return _Plain("v", names=names).show(value, depth)


def format_float(value: float, verb: str = "g", precision: int = -1) -> str:
    """Go's strconv.FormatFloat as fmt uses it; a negative precision is the shortest exact."""
    if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN
        return {"inf": "+Inf", "-inf": "-Inf"}.get(str(value), "NaN")
    if precision >= 0:
        return f"{value:.{precision}{verb}}"
    digits, exponent = _shortest(value)
    if verb == "e" or (verb == "g" and (exponent < -4 or exponent >= 6)):
        mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
        text = f"{mantissa}e{'-' if exponent < 0 else '+'}{abs(exponent):02d}"
    elif exponent < 0:
        text = "0." + "0" * (-exponent - 1) + digits
    else:
        whole = digits[: exponent + 1].ljust(exponent + 1, "0")
        part = digits[exponent + 1 :]
        text = whole + ("." + part if part else "")
    negative = value < 0 or str(value).startswith("-")
    return "-" + text if negative else text


def _shortest(value: float) -> tuple[str, int]:
    """The shortest digits that give the value back, and the decimal exponent."""
    if value == 0:
        return "0", 0
    mantissa, _, exponent = f"{abs(value)!r}".partition("e")
    whole, _, part = mantissa.partition(".")
    digits = whole + part
    at = int(exponent or 0) + len(whole) - 1
    stripped = digits.lstrip("0")
    at -= len(digits) - len(stripped)
    return stripped.rstrip("0") or "0", at


class _Plain:
    """Composite values, each part printed with one verb."""

    def __init__(self, verb: str, *, names: bool = False, spec: Spec | None = None) -> None:
        self.verb = verb
        self.names = names
        self.spec = spec

    def scalar(self, value: Any) -> str:
        if self.spec is not None:
            return self.spec.scalar(value)
        match value:
            case bool():
                return "true" if value else "false"
            case float():
                return format_float(value)
            case complex():
                sign = "" if value.imag < 0 else "+"
                return f"({format_float(value.real)}{sign}{format_float(value.imag)}i)"
        return str(value)

    def show(self, value: Any, depth: int = 0) -> str:
        match value:
            case Boxed():
                return self.show(value.value, depth)
            case None | NoValue():
                return "<nil>" if self.verb in "vs" and self.spec is None else self.nil()
            case GoTime():
                return value.shown() if self.spec is None else self.scalar(value)
            case GoStruct():
                return self.struct(value, depth)
            case GoPointer():
                return self.pointer(value, depth)
            case GoObject():
                return "{" + value.go_type + "}"
            case list():
                return "[" + " ".join(self.show(item, depth + 1) for item in value) + "]"
            case dict():
                pairs = (
                    f"{self.show(key, depth + 1)}:{self.show(value[key], depth + 1)}"
                    for key in sorted(value)
                )
                return "map[" + " ".join(pairs) + "]"
        return self.scalar(value)

    def nil(self) -> str:
        return "<nil>" if self.verb == "v" else f"%!{self.verb}(<nil>)"

    def pointer(self, value: GoPointer, depth: int) -> str:
        if value.value is None:
            return self.nil() if self.spec is not None else "<nil>"
        inner = value.value
        if isinstance(inner, GoStruct) and inner.text is not None:
            return self.scalar(inner.text)
        if depth == 0 and isinstance(inner, (GoStruct, list, dict)):
            return "&" + self.show(inner, depth + 1)
        # Go prints the address; any will do, as no program can rely on it.
        return f"0xc{id(inner) & 0xFFFFFFFFF:09x}"

    def struct(self, value: GoStruct, depth: int) -> str:
        if value.text is not None and (self.names or self.spec is None):
            return value.text
        shown = (
            (f"{name}:" if self.names else "") + self.show(field, depth + 1)
            for name, field in value.fields.items()
        )
        return "{" + " ".join(shown) + "}"


class Spec:
    """One ``%`` directive: flags, width, precision and verb."""

    def __init__(self, flags: str, width: int | None, precision: int | None, verb: str) -> None:
        self.flags = flags
        self.width = width
        self.precision = precision
        self.verb = verb

    def apply(self, value: Any) -> str:
        """The formatted value; padding applies to each scalar in it, as in Go."""
        value = unbox(value)
        if self.verb == "T":
            return self._pad(type_name(value))
        if self.verb == "v":
            if "#" in self.flags:
                return self._pad(go_syntax(value))
            composite = isinstance(value, (list, dict, GoStruct, GoPointer))
            names = "+" in self.flags
            if self.width is None and self.precision is None:
                return plain(value, names=names)
            if not composite:
                return self.scalar(value)
        if value is None or isinstance(value, NoValue):
            return self._pad("<nil>") if self.verb == "v" else f"%!{self.verb}(<nil>)"
        return _Plain(self.verb, names="+" in self.flags, spec=self).show(value)

    def scalar(self, value: Any) -> str:
        """One bool, number or string."""
        match value:
            case bool():
                if self.verb in "tv":
                    return self._pad("true" if value else "false")
            case GoDuration() if self.verb in "vs":
                return self._pad(str(value))
            case int():
                if self.verb in "vdboOxXcqU":
                    return self._integer(value)
            case float():
                if self.verb in "vbgGxXfFeE":
                    return self._real(value)
            case GoTime():
                return self._text(value.shown())
            case str():
                if self.verb in "vsqxX":
                    return self._text(value)
        return f"%!{self.verb}({type_name(value)}={plain(value)})"

    def _text(self, text: str) -> str:
        if self.precision is not None:
            text = text[: self.precision]
        if self.verb == "q":
            if "#" in self.flags and "`" not in text and text.isprintable():
                text = f"`{text}`"
            else:
                text = quote(text, ascii_only="+" in self.flags)
        elif self.verb in "xX":
            raw = text.encode("utf-8", "surrogateescape")
            text = raw.hex(" ") if " " in self.flags else raw.hex()
            text = text.upper() if self.verb == "X" else text
            if "#" in self.flags and text:
                text = "0" + self.verb + text
        return self._pad(text)

    def _integer(self, value: int) -> str:
        match self.verb:
            case "c":
                return self._pad(chr(value))
            case "q":
                return self._pad(quote(chr(value), "'"))
            case "U":
                return self._pad(f"U+{value:04X}")
        base = {"b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}.get(self.verb, "d")
        digits = format(abs(value), base)
        prefix = "0o" if self.verb == "O" else ""
        if "#" in self.flags:
            prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(self.verb, prefix)
        if self.precision is not None:
            digits = digits.rjust(self.precision, "0")
        sign = "-" if value < 0 else self._sign()
        if "0" in self.flags and "-" not in self.flags and self.precision is None:
            digits = digits.rjust((self.width or 0) - len(sign) - len(prefix), "0")
        return self._pad(sign + prefix + digits, zeros=False)

    def _sign(self) -> str:
        if "+" in self.flags:
            return "+"
        return " " if " " in self.flags else ""

    def _real(self, value: float) -> str:
        verb = {"v": "g", "F": "f"}.get(self.verb, self.verb)
        if self.precision is None and verb in "fFeE":
            precision = 6
        else:
            precision = -1 if self.precision is None else self.precision
        if verb in "gG" and precision == 0:
            precision = 1
        text = format_float(abs(value), verb.lower(), precision)
        text = text.upper() if verb in "EG" else text
        sign = "-" if value < 0 or str(value) == "-0.0" else self._sign()
        if "0" in self.flags and "-" not in self.flags:
            text = text.rjust((self.width or 0) - len(sign), "0")
        return self._pad(sign + text.lstrip("+"), zeros=False)

    def _pad(self, text: str, *, zeros: bool = True) -> str:
        if self.width is None or len(text) >= self.width:
            return text
        if "-" in self.flags:
            return text.ljust(self.width)
        return text.rjust(self.width, "0" if zeros and "0" in self.flags else " ")


def go_syntax(value: Any) -> str:
    """Go's ``%#v``."""
    value = unbox(value)
    match value:
        case None | NoValue():
            return "<nil>"
        case bool():
            return "true" if value else "false"
        case str():
            return quote(value)
        case float():
            return format_float(value)
        case GoPointer():
            return (
                f"({type_name(value)})(nil)"
                if value.value is None
                else "&" + go_syntax(value.value)
            )
        case GoStruct():
            shown = (f"{name}:{go_syntax(field)}" for name, field in value.fields.items())
            return value.go_type + "{" + ", ".join(shown) + "}"
        case GoSlice() | GoMap() if value.nil:
            return f"{value.go_type}(nil)"
        case list():
            return type_name(value) + "{" + ", ".join(map(go_syntax, value)) + "}"
        case dict():
            shown = (f"{quote(key)}:{go_syntax(value[key])}" for key in sorted(value))
            return type_name(value) + "{" + ", ".join(shown) + "}"
    return str(value)


def sprintf(layout: str, values: list[Any]) -> str:
    """Go's Sprintf, with its texts for wrong verbs and missing or extra operands."""
    return _Layout(layout, values).run()


class _Layout:
    """A format being worked through: where we are in it, and at which operand."""

    def __init__(self, layout: str, values: list[Any]) -> None:
        self.layout = layout
        self.values = [unbox(value) for value in values]
        self.at = 0
        self.used = 0
        self.reordered = False
        self.bad_index = False
        self.parts: list[str] = []

    def run(self) -> str:
        while True:
            percent = self.layout.find("%", self.at)
            if percent < 0:
                self.parts.append(self.layout[self.at :])
                break
            self.parts.append(self.layout[self.at : percent])
            self.at = percent + 1
            self.directive()
        if not self.reordered and self.used < len(self.values):
            extra = ", ".join(
                "<nil>" if value is None else f"{type_name(value)}={plain(value)}"
                for value in self.values[self.used :]
            )
            self.parts.append(f"%!(EXTRA {extra})")
        return "".join(self.parts)

    def peek(self) -> str:
        return self.layout[self.at : self.at + 1]

    def directive(self) -> None:
        """What follows a percent sign."""
        self.bad_index = False
        flags = ""
        while self.peek() and self.peek() in "+-# 0":
            flags += self.peek()
            self.at += 1
        self.index()
        width = self.number("%!(BADWIDTH)")
        if width is not None and width < 0:
            width, flags = -width, flags + "-"
        precision = None
        if self.peek() == ".":
            self.at += 1
            self.index()
            precision = self.number("%!(BADPREC)") or 0
        self.index()
        verb = self.peek()
        self.at += 1
        if not verb:
            self.parts.append("%!(NOVERB)")
        elif verb == "%":
            self.parts.append("%")
        elif self.bad_index:
            self.parts.append(f"%!{verb}(BADINDEX)")
        elif self.used >= len(self.values):
            self.parts.append(f"%!{verb}(MISSING)")
        else:
            value = self.values[self.used]
            self.used += 1
            self.parts.append(Spec(flags, width, precision, verb).apply(value))

    def index(self) -> None:
        """``[2]``: the next operand is the second."""
        if self.peek() != "[":
            return
        end = self.layout.find("]", self.at)
        text = self.layout[self.at + 1 : end]
        self.at = end + 1 if end > 0 else self.at + 1
        self.reordered = True
        if text.isdecimal() and 0 < int(text) <= len(self.values):
            self.used = int(text) - 1
        else:
            self.bad_index = True

    def number(self, bad: str) -> int | None:
        """Digits, or ``*`` for an operand; None if there is neither."""
        if self.peek() == "*":
            self.at += 1
            star = self.values[self.used] if self.used < len(self.values) else None
            self.used += 1
            if isinstance(star, int) and not isinstance(star, bool):
                return int(star)
            self.parts.append(bad)
            return None
        start = self.at
        while self.peek() and self.peek() in _DIGITS:
            self.at += 1
        return int(self.layout[start : self.at]) if self.at > start else None
