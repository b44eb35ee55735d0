"""Reads the texts behind the fields of a class or a module, which Python itself does not keep."""

import ast
import inspect
import itertools
import textwrap
from types import ModuleType


def words(one: type | ModuleType) -> dict[str, str]:
    """Read the text behind each name that a class or a module sets, in their order; without inherited ones."""
    parsed = ast.parse(textwrap.dedent(inspect.getsource(one))).body
    if isinstance(one, ModuleType):
        return dict(_texts(parsed))
    [body] = parsed
    assert isinstance(body, ast.ClassDef)
    return dict(_texts(body.body))


def _texts(statements: list[ast.stmt]) -> list[tuple[str, str]]:
    found = []
    for statement, text in itertools.pairwise(statements):
        is_text = isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
        name = _name(statement)
        if name and is_text:
            assert isinstance(text, ast.Expr)
            found.append((name, " ".join(str(ast.literal_eval(text.value)).split())))
    return found


def _name(statement: ast.stmt) -> str:
    if isinstance(statement, ast.AnnAssign):
        return ast.unparse(statement.target)
    return ast.unparse(statement.targets[0]) if isinstance(statement, ast.Assign) else ""
