"""Which files of this project a file needs, by following its imports: at the top, inside functions, and by name.

A string constant such as "clipdrive.carla_server" counts as an import too: that is how the server's process is
started (`python -m`) and how Gymnasium finds an environment. Imports for type checkers alone do not count.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = {"clipdrive": ROOT / "src" / "clipdrive", "stages": ROOT / "stages"}
MODULE_NAME = re.compile(r"^clipdrive(\.\w+)+(?=$|:)")


def needed_files(start: Path) -> set[Path]:
    """All files that `start` needs, itself included, relative to the repository."""
    found: set[Path] = set()
    waiting = [start.resolve(), *_files(".".join(start.relative_to(ROOT).with_suffix("").parts))]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            for module in direct_imports(path):
                waiting += _files(module)
    return {path.relative_to(ROOT) for path in found}


def direct_imports(path: Path) -> set[str]:
    """Dotted names of the project's modules that one file imports or names."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {name for node in _running(tree) for name in _names(node)}
    return {name for name in names if name.split(".")[0] in SOURCES}


def module_path(module: str) -> Path | None:
    """The file of a module, or a package's `__init__.py`; None where there is no such module."""
    first, *rest = module.split(".")
    base = SOURCES[first].joinpath(*rest)
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _files(module: str) -> list[Path]:
    """The module's file and those of the packages that hold it, which Python runs first."""
    parts = module.split(".")
    if module_path(module) is None:  # a name inside a module
        parts = parts[:-1]
    paths = [module_path(".".join(parts[:i])) for i in range(1, len(parts) + 1)]
    last = paths[-1]
    if last is not None and last.name == "__init__.py" and (last.parent / "__main__.py").exists():
        paths.append(last.parent / "__main__.py")  # `python -m package`
    return [path for path in paths if path is not None]


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes that run: without docstrings and what stands under `if TYPE_CHECKING`."""
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test):
            waiting += node.orelse
            continue
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        yield node
        waiting += list(ast.iter_child_nodes(node))


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"line {node.lineno}: a relative import, which this project does not use"
        yield node.module
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str) and (match := MODULE_NAME.match(node.value)):
        yield match.group()
