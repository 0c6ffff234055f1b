"""The one error of the template language."""

from __future__ import annotations

from barque.errors import InvalidArgument


class TemplateError(InvalidArgument):
    """A template that does not parse or cannot be executed; the text is Go's."""


class FunctionError(Exception):
    """What a template function returns as its error; the evaluator adds the place."""
