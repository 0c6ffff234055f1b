"""Runs a template's tree over data (source: Go's text/template exec, as of Go 1.24)."""

from __future__ import annotations

from barque.cli.template.errors import FunctionError, TemplateError
from barque.cli.template.functions import (
    ANY,
    FUNCTIONS,
    HEADER_FUNCTIONS,
    Function,
    indirect,
    key_type,
    truth,
)
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
from barque.cli.template.printing import plain, show
from barque.cli.template.values import (
    NO_VALUE,
    Boxed,
    GoObject,
    GoPointer,
    GoStruct,
    GoTime,
    NoValue,
    quote,
    type_name,
    unbox,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_MAX_DEPTH = 200  # of {{template}} calls; below what Python's own stack takes


class _Break(Exception):
    pass


class _Continue(Exception):
    pass


class _Absent:
    """No value was piped in; there is one: _ABSENT."""


_ABSENT = _Absent()


class _Given:
    """What a function or method is given: arguments, and the value piped in, if any."""

    __slots__ = ("args", "final")

    def __init__(self, args: list[Node], final: Any = _ABSENT) -> None:
        self.args = args
        self.final = final

    def __len__(self) -> int:
        return len(self.args) + (self.final is not _ABSENT)


_NOTHING = _Given([])


def execute(
    trees: dict[str, ListNode],
    name: str,
    text: str,
    data: Any,
    *,
    missing_key_error: bool,
    header: bool,
) -> str:
    """The output of template ``name`` for ``data``; see :class:`barque.cli.template.Template`."""
    run = _Run(trees, name, text, missing_key_error=missing_key_error, header=header)
    root = trees.get(name)
    if root is None:
        raise TemplateError(f"template: {name}: {quote(name)} is an incomplete or empty template")
    state = _State(run, name, data)
    state.walk_list(data, root)
    return "".join(run.output)


class _Run:
    """What all templates of one execution share."""

    def __init__(
        self,
        trees: dict[str, ListNode],
        name: str,
        text: str,
        *,
        missing_key_error: bool,
        header: bool,
    ) -> None:
        self.trees = trees
        self.parse_name = name
        self.text = text
        self.missing_key_error = missing_key_error
        self.functions = HEADER_FUNCTIONS if header else FUNCTIONS
        self.output: list[str] = []


class _State:
    """One template being executed: its variables and where it is."""

    def __init__(self, run: _Run, name: str, data: Any, depth: int = 0) -> None:
        self.run = run
        self.name = name
        self.depth = depth
        self.node: Node | None = None
        self.variables: list[list[Any]] = [["$", data]]

    def fail(self, message: str) -> NoReturn:
        node = self.node
        if node is None:
            raise TemplateError(f"template: {self.name}: {message}")
        # Go counts bytes. Our offsets are characters.
        before = self.run.text[: node.pos].encode("utf-8", "surrogateescape")
        line = 1 + before.count(b"\n")
        column = len(before) - (before.rfind(b"\n") + 1)
        place = f"{self.run.parse_name}:{line}:{column}"
        raise TemplateError(
            f"template: {place}: executing {quote(self.name)} at <{node}>: {message}"
        )

    # --- actions

    def walk_list(self, dot: Any, body: ListNode) -> None:
        for node in body.nodes:
            self.walk(dot, node)

    def walk(self, dot: Any, node: Node) -> None:
        match node:
            case TextNode():
                self.run.output.append(node.text)
            case ActionNode():
                self.node = node
                value = self.pipeline(dot, node.pipe)
                if not node.pipe.variables:
                    self.node = node
                    self.run.output.append(self.printed(node, value))
            case BranchNode():
                mark = len(self.variables)
                try:
                    if node.word == "range":
                        self.walk_range(dot, node)
                    else:
                        self.walk_if_or_with(dot, node)
                finally:
                    del self.variables[mark:]
            case TemplateNode():
                self.walk_template(dot, node)
            case WordNode():
                raise _Break if node.word == "break" else _Continue
            case _:
                raise AssertionError(node)

    def printed(self, node: ActionNode, value: Any) -> str:
        if isinstance(value, Function):
            self.fail(f"can't print {node} of type func")
        return show(value)

    def walk_if_or_with(self, dot: Any, node: BranchNode) -> None:
        self.node = node
        value = self.pipeline(dot, node.pipe)
        if truth(value):
            self.walk_list(value if node.word == "with" else dot, node.body)
        elif node.otherwise is not None:
            self.walk_list(dot, node.otherwise)

    def walk_range(self, dot: Any, node: BranchNode) -> None:
        self.node = node
        value = indirect(self.pipeline(dot, node.pipe))
        pairs: list[tuple[Any, Any]] = []
        match value:
            case bool():
                self.fail(f"range can't iterate over {plain(value)}")
            case int():
                pairs = [(number, number) for number in range(value)]
            case list():
                pairs = [(place, self.element(value, item)) for place, item in enumerate(value)]
            case dict():
                pairs = [(key, self.element(value, value[key])) for key in sorted(value)]
            case None | NoValue():
                pass
            case _:
                self.fail(f"range can't iterate over {plain(value)}")
        if isinstance(value, int) and len(node.pipe.variables) > 1:
            self.fail(f"can't use {plain(value)} to iterate over more than one variable")
        mark = len(self.variables)
        declared = node.pipe.variables
        for key, item in pairs:
            if len(declared) > 1:
                self.set_range_variable(node, mark, 0, key)
                self.set_range_variable(node, mark, 1, item)
            elif declared:
                self.set_range_variable(node, mark, 0, item)
            try:
                self.walk_list(item, node.body)
            except _Break:
                break
            except _Continue:
                pass
            finally:
                del self.variables[mark:]
        if not pairs and node.otherwise is not None:
            self.walk_list(dot, node.otherwise)

    def set_range_variable(self, node: BranchNode, mark: int, which: int, value: Any) -> None:
        if node.pipe.assign:
            self.set_variable(node.pipe.variables[which].names[0], value)
        else:  # the pipeline itself pushed them, just below the mark
            self.variables[mark - len(node.pipe.variables) + which][1] = value

    def element(self, container: Any, item: Any) -> Any:
        """An element of a container of interface{} shows as an interface."""
        return Boxed(item) if type_name(container).endswith("interface {}") else item

    def walk_template(self, dot: Any, node: TemplateNode) -> None:
        self.node = node
        body = self.run.trees.get(node.name)
        if body is None:
            self.fail(f"template {quote(node.name)} not defined")
        if self.depth == _MAX_DEPTH:
            self.fail(f"exceeded maximum template depth ({_MAX_DEPTH})")
        value = NO_VALUE if node.pipe is None else self.pipeline(dot, node.pipe)
        _State(self.run, node.name, value, self.depth + 1).walk_list(value, body)

    # --- variables

    def set_variable(self, name: str, value: Any) -> None:
        for pair in reversed(self.variables):
            if pair[0] == name:
                pair[1] = value
                return
        self.fail(f"undefined variable: {name}")

    def get_variable(self, name: str) -> Any:
        for pair in reversed(self.variables):
            if pair[0] == name:
                return pair[1]
        return self.fail(f"undefined variable: {name}")

    # --- pipelines

    def pipeline(self, dot: Any, pipe: PipeNode) -> Any:
        self.node = pipe
        value: Any = _ABSENT
        for command in pipe.commands:
            value = unbox(self.command(dot, command, value))
        for variable in pipe.variables:
            if pipe.assign:
                self.set_variable(variable.names[0], value)
            else:
                self.variables.append([variable.names[0], value])
        return value

    def no_arguments(self, node: Node, given: _Given) -> None:
        if given:
            self.fail(f"can't give argument to non-function {node}")

    def command(self, dot: Any, command: CommandNode, final: Any) -> Any:
        first = command.args[0]
        given = _Given(command.args[1:], final)
        match first:
            case FieldNode():
                self.node = first
                return self.chain(dot, dot, first, first.names, given)
            case ChainNode():
                return self.chain_node(dot, first, given)
            case IdentifierNode():
                return self.function(dot, first, command, given)
            case PipeNode():
                self.no_arguments(first, given)
                return self.pipeline(dot, first)
            case VariableNode():
                return self.variable_node(dot, first, given)
        self.node = first
        self.no_arguments(first, given)
        match first:
            case DotNode():
                return dot
            case ConstantNode():
                return self.constant(first)
            case NilNode():
                self.fail("nil is not a command")
        return self.fail(f"can't evaluate command {quote(str(first))}")

    def constant(self, node: ConstantNode) -> Any:
        self.node = node
        if (
            isinstance(node.value, int)
            and not isinstance(node.value, bool)
            and node.value >= 1 << 63
        ):
            self.fail(f"{node.text} overflows int")
        return node.value

    def chain_node(self, dot: Any, node: ChainNode, given: _Given) -> Any:
        self.node = node
        if isinstance(node.node, NilNode):
            self.fail(f"indirection through explicit nil in {node}")
        value = self.argument(dot, ANY, node.node)
        return self.chain(dot, value, node, node.names, given)

    def variable_node(self, dot: Any, node: VariableNode, given: _Given) -> Any:
        self.node = node
        value = self.get_variable(node.names[0])
        if len(node.names) == 1:
            self.no_arguments(node, given)
            return value
        return self.chain(dot, value, node, node.names[1:], given)

    def chain(self, dot: Any, receiver: Any, node: Node, names: list[str], given: _Given) -> Any:
        for name in names[:-1]:
            receiver = self.field(dot, name, node, _NOTHING, receiver)
        return self.field(dot, names[-1], node, given, receiver)

    def field(self, dot: Any, name: str, node: Node, given: _Given, receiver: Any) -> Any:
        self.node = node
        if receiver is NO_VALUE or receiver is None:
            if self.run.missing_key_error:
                self.fail(f"nil data; no entry for key {quote(name)}")
            return NO_VALUE
        kind = type_name(receiver)
        value = indirect(receiver)
        if value is None and isinstance(receiver, Boxed):
            self.fail(f"nil pointer evaluating {kind}.{name}")
        match value:
            case GoObject():
                method = value.find_method(name)
                if method is not None:
                    return self.call(dot, Function(*method), node, name, given)
            case GoTime():
                from barque.cli.template.times import find_method  # noqa: PLC0415 - rare

                time_method = find_method(value, name)
                if time_method is not None:
                    return self.call(dot, time_method, node, name, given)
            case GoStruct():
                found, inner = value.find(name)
                if found:
                    if given:
                        self.fail(f"{name} has arguments but cannot be invoked as function")
                    return inner
            case dict() if key_type(value) == "string":
                if given:
                    self.fail(f"{name} is not a method but has arguments")
                if name in value:
                    return self.element(value, value[name])
                if self.run.missing_key_error:
                    self.fail(f"map has no entry for key {quote(name)}")
                return NO_VALUE
            case GoPointer():
                self.fail(f"nil pointer evaluating {kind}.{name}")
        return self.fail(f"can't evaluate field {name} in type {kind}")

    # --- calls

    def function(self, dot: Any, node: IdentifierNode, place: Node, given: _Given) -> Any:
        self.node = node
        return self.call(dot, self.run.functions[node.name], place, node.name, given)

    def call(self, dot: Any, function: Function, node: Node, name: str, given: _Given) -> Any:
        count = len(given)
        params = function.params
        if function.variadic is None:
            if count != len(params):
                self.fail(f"wrong number of args for {name}: want {len(params)} got {count}")
        elif count < len(params):
            wanted = f"want at least {len(params)} got {len(given.args)}"
            self.fail(f"wrong number of args for {name}: {wanted}")
        if name in ("and", "or") and isinstance(node, (CommandNode, IdentifierNode)):
            return self.and_or(dot, name, given)
        types = [
            params[place] if place < len(params) else (function.variadic or ANY)
            for place in range(count)
        ]
        values = [
            self.argument(dot, kind, arg) for kind, arg in zip(types, given.args, strict=False)
        ]
        if given.final is not _ABSENT:
            values.append(self.validate(given.final, types[-1]))
        if name == "call":  # no data of ours has function values
            value = unbox(values[0])
            shown = given.args[0] if given.args else plain(value)
            what = f"non-function {shown} of type {type_name(value)}"
            self.node = node
            self.fail(f"error calling call: {'call of nil' if value is None else what}")
        try:
            return function.call(*values)
        except FunctionError as error:
            self.node = node
            return self.fail(f"error calling {name}: {error}")

    def and_or(self, dot: Any, name: str, given: _Given) -> Any:
        """The first argument that decides; the others are not evaluated."""
        value: Any = NO_VALUE
        for arg in given.args:
            value = self.argument(dot, ANY, arg)
            if truth(value) == (name == "or"):
                return value
        return value if given.final is _ABSENT else self.validate(given.final, ANY)

    def validate(self, value: Any, kind: str) -> Any:
        """``value`` as an argument of type ``kind``; fails as Go does if it is not one."""
        if kind == ANY:
            return value
        value = unbox(value)
        if value is None or value is NO_VALUE:
            self.fail(f"invalid value; expected {kind}")
        if isinstance(value, GoPointer) and value.value is not None:
            value = value.value
        actual = type_name(value)
        if actual != kind:
            self.fail(f"wrong type for value; expected {kind}; got {actual}")
        return value

    def argument(self, dot: Any, kind: str, node: Node) -> Any:
        self.node = node
        match node:
            case DotNode():
                return self.validate(dot, kind)
            case NilNode():
                if kind != ANY:
                    self.fail(f"cannot assign nil to {kind}")
                return None
            case FieldNode():
                value = self.chain(dot, dot, node, node.names, _NOTHING)
                return self.validate(value, kind)
            case VariableNode():
                return self.validate(self.variable_node(dot, node, _NOTHING), kind)
            case PipeNode():
                return self.validate(self.pipeline(dot, node), kind)
            case IdentifierNode():
                return self.validate(self.function(dot, node, node, _NOTHING), kind)
            case ChainNode():
                return self.validate(self.chain_node(dot, node, _NOTHING), kind)
            case ConstantNode():
                return self.constant_argument(kind, node)
        return self.fail(f"can't handle {node} for arg of type {kind}")

    def constant_argument(self, kind: str, node: ConstantNode) -> Any:
        if kind == ANY:
            return self.constant(node)
        value = node.value
        if kind == "string" and not isinstance(value, str):
            self.fail(f"expected string; found {node}")
        if kind == "int":
            if isinstance(value, float) and value.is_integer():
                return int(value)
            if isinstance(value, bool) or not isinstance(value, int):
                self.fail(f"expected integer; found {node}")
        return value
