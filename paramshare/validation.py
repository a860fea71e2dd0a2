"""Turn pydantic's errors into sentences: the option, the value and the expectation, without names of Python's types."""

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from pydantic import ValidationError

from paramshare.errors import did_you_mean

__all__ = ["sentences", "sentences_of_keys", "sentences_of_options"]

_POSITIONAL: Final = (("analyze", "model"), ("layer", "kind"), ("completion", "shell"), ("init", "file"))
_WHOLE: Final = "expected a whole number"
_FLAG: Final = "expected true or false"
_EXPECTED: Final[Mapping[str, str | Callable[[Mapping[str, Any]], str]]] = {
    "int_parsing": _WHOLE,
    "int_type": _WHOLE,
    "int_from_float": _WHOLE,
    "int_parsing_size": "expected a smaller number",
    "float_parsing": "expected a number",
    "float_type": "expected a number",
    "finite_number": "expected a finite number",
    "bool_parsing": _FLAG,
    "bool_type": _FLAG,
    "string_type": "expected text",
    "dict_type": "expected a JSON object",
    "list_type": "expected a list",
    "literal_error": lambda context: f"expected {context['expected']}",
    "greater_than_equal": lambda context: f"expected at least {context['ge']}",
    "greater_than": lambda context: f"expected more than {context['gt']}",
    "less_than_equal": lambda context: f"expected at most {context['le']}",
    "less_than": lambda context: f"expected less than {context['lt']}",
    "string_too_long": lambda context: f"expected at most {context['max_length']} characters",
    "string_too_short": lambda context: f"expected at least {context['min_length']} characters",
}


def sentences(error: ValidationError) -> str:
    """Return the error of each option, joined by semicolons: `--steps is '-3'; expected at least 1`."""
    return _joined(error, _option, advises=True)


def sentences_of_options(error: ValidationError) -> str:
    """Return what is wrong with each option of a recipe, whose validators do not name the option."""
    details = error.errors(include_url=False)
    unnamed = [detail for detail in details if detail["type"] == "value_error" and detail["loc"]]
    named = [
        f"{_option(str(detail['loc'][-1]))} is {detail['input']!r}; {detail['msg'].removeprefix('Value error, ')}"
        for detail in unnamed
    ]
    others = [_sentence(dict(detail), _option, advises=False) for detail in details if detail not in unnamed]
    return "; ".join(named + others)


def sentences_of_keys(error: ValidationError) -> str:
    """Return the error of each key of a JSON object, joined by semicolons: `"steps" is -3; expected at least 1`."""
    return _joined(error, json.dumps, advises=False)


def _joined(error: ValidationError, named: Callable[[str], str], *, advises: bool) -> str:
    details = (dict(detail) for detail in error.errors(include_url=False))
    texts = (
        _sentence(detail, named, advises=advises)
        for detail in details
        if detail["type"] != "default_factory_not_called"
    )
    return "; ".join(dict.fromkeys(texts))  # a union repeats errors


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


def _sentence(detail: Mapping[str, Any], named: Callable[[str], str], *, advises: bool) -> str:
    """Return the sentence of an error.

    Args:
        named: returns a field's name as the reader types it.
        advises: whether the field is an option of a command, so that a missing one names the command's help.
    """
    kind, reason = detail["type"], detail["msg"].removeprefix("Value error, ")
    if kind == "value_error":  # of a validator of paramshare, whose message names the value
        return str(reason)
    names = [str(part) for part in detail["loc"] if isinstance(part, str)]
    name = named(names[-1] if names else "the command line")
    if tuple(names[-2:]) in _POSITIONAL:
        name = names[-1].upper()
    if kind == "missing":
        return f"{name} is missing" + (f"; see {' '.join(('paramshare', *names[:-1]))} --help" if advises else "")
    if kind == "extra_forbidden":
        return f"there is no {'option ' if advises else ''}{name}"
    expected = _EXPECTED.get(kind, f"{reason[0].lower()}{reason[1:]}")
    text = expected if isinstance(expected, str) else expected(detail["ctx"])
    if kind == "literal_error":
        text += did_you_mean(str(detail["input"]), re.findall(r"'([^']+)'", text))
    return f"{name} is {detail['input']!r}; {text}"
