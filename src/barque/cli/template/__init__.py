"""Go's text/template, as ``--format`` of a container command line needs it.

Source of the language: https://pkg.go.dev/text/template. The functions are Go's builtins
and those that docker adds (``json``, ``split``, ``join``, ``title``, ``lower``, ``upper``,
``pad``, ``truncate``). Importing this package costs a few milliseconds, so commands do it
only when the user gave a template.

Values are Python's (``None``, ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict``)
and those of :mod:`barque.cli.template.values`, which carry Go's types where they show.
"""

from __future__ import annotations

from barque.cli.template.errors import TemplateError
from barque.cli.template.execute import execute
from barque.cli.template.parse import parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from barque.cli.template.nodes import ListNode

__all__ = ["Template", "TemplateError"]


class Template:
    """One parsed template; it can be executed any number of times.

    Raises :class:`TemplateError` with Go's text if ``text`` is not a template.
    """

    def __init__(self, text: str, name: str = "") -> None:
        self.name = name
        self.text = text
        self.trees: dict[str, ListNode] = parse(text, name)

    def execute(self, data: Any, *, missing_key_error: bool = False, header: bool = False) -> str:
        """The text for ``data``.

        ``missing_key_error``: a missing key of a map is an error (else ``<no value>``).
        ``header``: docker's functions leave their argument alone, as in table headers.
        Raises :class:`TemplateError` with Go's text ("template: :1:2: executing ...").
        """
        return execute(
            self.trees,
            self.name,
            self.text,
            data,
            missing_key_error=missing_key_error,
            header=header,
        )
