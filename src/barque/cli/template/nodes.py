"""The syntax tree of a template; ``str(node)`` is the node's text in error messages."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Node:
    """A place in the template: ``pos`` is its offset, as Go counts it for messages."""

    __slots__ = ("pos",)

    def __init__(self, pos: int) -> None:
        self.pos = pos


class TextNode(Node):
    """Literal text between actions."""

    __slots__ = ("text",)

    def __init__(self, pos: int, text: str) -> None:
        super().__init__(pos)
        self.text = text

    def __str__(self) -> str:
        return self.text


class ListNode(Node):
    """A sequence of text and actions."""

    __slots__ = ("nodes",)

    def __init__(self, pos: int) -> None:
        super().__init__(pos)
        self.nodes: list[Node] = []

    def __str__(self) -> str:
        return "".join(map(str, self.nodes))


class DotNode(Node):
    """The cursor."""

    __slots__ = ()

    def __str__(self) -> str:
        return "."


class NilNode(Node):
    """The untyped nil."""

    __slots__ = ()

    def __str__(self) -> str:
        return "nil"


class ConstantNode(Node):
    """A literal string, number or boolean; ``text`` is its spelling."""

    __slots__ = ("text", "value")

    def __init__(self, pos: int, text: str, value: Any) -> None:
        super().__init__(pos)
        self.text = text
        self.value = value

    def __str__(self) -> str:
        return self.text


class IdentifierNode(Node):
    """The name of a function."""

    __slots__ = ("name",)

    def __init__(self, pos: int, name: str) -> None:
        super().__init__(pos)
        self.name = name

    def __str__(self) -> str:
        return self.name


class FieldNode(Node):
    """``.A.B``."""

    __slots__ = ("names",)

    def __init__(self, pos: int, names: list[str]) -> None:
        super().__init__(pos)
        self.names = names

    def __str__(self) -> str:
        return "".join("." + name for name in self.names)


class VariableNode(Node):
    """``$x.A.B``; the first name has its dollar."""

    __slots__ = ("names",)

    def __init__(self, pos: int, names: list[str]) -> None:
        super().__init__(pos)
        self.names = names

    def __str__(self) -> str:
        return ".".join(self.names)


class ChainNode(Node):
    """Fields of something that is neither field nor variable: ``(pipeline).A.B``."""

    __slots__ = ("names", "node")

    def __init__(self, pos: int, node: Node, names: list[str]) -> None:
        super().__init__(pos)
        self.node = node
        self.names = names

    def __str__(self) -> str:
        head = f"({self.node})" if isinstance(self.node, PipeNode) else str(self.node)
        return head + "".join("." + name for name in self.names)


class CommandNode(Node):
    """An operand and its arguments."""

    __slots__ = ("args",)

    def __init__(self, pos: int) -> None:
        super().__init__(pos)
        self.args: list[Node] = []

    def __str__(self) -> str:
        return " ".join(f"({arg})" if isinstance(arg, PipeNode) else str(arg) for arg in self.args)


class PipeNode(Node):
    """Commands joined by ``|``, with the variables that take the result."""

    __slots__ = ("assign", "commands", "variables")

    def __init__(self, pos: int) -> None:
        super().__init__(pos)
        self.assign = False
        self.variables: list[VariableNode] = []
        self.commands: list[CommandNode] = []

    def __str__(self) -> str:
        text = " | ".join(map(str, self.commands))
        if self.variables:
            sign = " = " if self.assign else " := "
            text = ", ".join(map(str, self.variables)) + sign + text
        return text


class ActionNode(Node):
    """``{{pipeline}}``."""

    __slots__ = ("pipe",)

    def __init__(self, pos: int, pipe: PipeNode) -> None:
        super().__init__(pos)
        self.pipe = pipe

    def __str__(self) -> str:
        return "{{" + str(self.pipe) + "}}"


class BranchNode(Node):
    """``if``, ``with`` or ``range`` (the ``word``)."""

    __slots__ = ("body", "otherwise", "pipe", "word")

    def __init__(
        self, pos: int, word: str, pipe: PipeNode, body: ListNode, otherwise: ListNode | None
    ) -> None:
        super().__init__(pos)
        self.word = word
        self.pipe = pipe
        self.body = body
        self.otherwise = otherwise

    def __str__(self) -> str:
        otherwise = "" if self.otherwise is None else "{{else}}" + str(self.otherwise)
        return "{{" + f"{self.word} {self.pipe}" + "}}" + str(self.body) + otherwise + "{{end}}"


class TemplateNode(Node):
    """``{{template "name" pipeline}}``."""

    __slots__ = ("name", "pipe")

    def __init__(self, pos: int, name: str, pipe: PipeNode | None) -> None:
        super().__init__(pos)
        self.name = name
        self.pipe = pipe

    def __str__(self) -> str:
        from barque.cli.template.values import quote  # noqa: PLC0415 - errors only

        tail = "" if self.pipe is None else f" {self.pipe}"
        return "{{template " + quote(self.name) + tail + "}}"


class WordNode(Node):
    """``{{break}}``, ``{{continue}}``, ``{{else}}`` and ``{{end}}``."""

    __slots__ = ("word",)

    def __init__(self, pos: int, word: str) -> None:
        super().__init__(pos)
        self.word = word

    def __str__(self) -> str:
        return "{{" + self.word + "}}"
