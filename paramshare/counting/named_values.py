"""Parse named values of a command line: a JSON object, or pairs such as `width=64,bias=false`."""

import ast
import json
from typing import Any, Final

from paramshare.errors import SpecError

__all__ = ["named_values"]

_WORDS: Final = {"true": True, "false": False, "null": None}
_SCALARS: Final = (str, bool, int, float, type(None))


def named_values(option: str, value: Any, example: str) -> Any:
    """Parse the text of an option to an object. Return a value that is not a text unchanged.

    The values of pairs are values of JSON or Python: numbers, true, false, null, words, quoted texts, lists and
    objects. A number never becomes a text: `4` is a number.

    Args:
        option: the name of the option, for errors.
        value: a text from the command line; an object from a settings file, a form or Python.
        example: a valid JSON object, for errors.

    Raises:
        SpecError: the text is neither a JSON object nor pairs.
    """
    if not isinstance(value, str):
        return value
    if value.lstrip()[:1] not in ("{", "["):
        return _pairs(option, value, example)
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise SpecError(f"{option} is {value!r}: {error}; expected a JSON object such as {example}") from error


def _pairs(option: str, text: str, example: str) -> dict[str, Any]:
    """Parse pairs such as `width=64,bias=false` as the arguments of a call, without any call."""
    expected = f"expected pairs such as width=64,bias=false, or a JSON object such as {example}"
    try:
        call = ast.parse(f"_({text}\n)", mode="eval").body
    except (SyntaxError, ValueError) as error:
        raise SpecError(f"{option} is {text!r}; {expected}") from error
    if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and not call.args):
        raise SpecError(f"{option} is {text!r}; {expected}")
    values = {}
    for pair in call.keywords:
        try:
            if pair.arg is None:
                raise ValueError
            values[pair.arg] = _value(pair.value)
        except ValueError as error:
            raise SpecError(
                f"{option} is {text!r}: {pair.arg or 'a part'} is not a number, word or list; put a text into quotes, "
                f"or use a JSON object such as {example}"
            ) from error
    return values


def _value(node: ast.expr) -> Any:
    """Return the value of a literal.

    Raises:
        ValueError: the expression is not a literal.
    """
    if isinstance(node, ast.Name):
        return _WORDS.get(node.id, node.id)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(part) for part in node.elts]
    if isinstance(node, ast.Dict):
        names = [None if name is None else _value(name) for name in node.keys]
        if not all(isinstance(name, str) for name in names):
            raise ValueError("a name is not a text")
        return dict(zip(names, map(_value, node.values), strict=True))
    value = ast.literal_eval(node)
    if not isinstance(value, _SCALARS):
        raise ValueError("JSON has no such value")
    return value
