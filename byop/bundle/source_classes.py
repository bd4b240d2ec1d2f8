"""Classes and functions of a project as its source shows them: parsed, never imported."""

import ast
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class SourceModule:
    """One parsed file. ``imported`` maps a local name to the name that it was imported as."""

    path: PurePosixPath
    tree: ast.Module
    imported: Mapping[str, str]

    def resolve(self, node: ast.expr) -> str:
        """Return the last part of a dotted name as its author's module calls it, else ''."""
        match node:
            case ast.Name(id=name):
                return self.imported.get(name, name)
            case ast.Attribute(attr=name):
                return name
            case ast.Subscript(value=value):
                return self.resolve(value)
        return ""


@dataclass(frozen=True, slots=True)
class SourceClass:
    """A class statement and the module that holds it."""

    node: ast.ClassDef
    module: SourceModule

    @property
    def name(self) -> str:
        """Its name."""
        return self.node.name


def parse_module(path: PurePosixPath, source: bytes) -> SourceModule:
    """Return the parsed file. Raises SyntaxError or ValueError (null bytes)."""
    tree = ast.parse(source, filename=str(path))
    imported = {
        alias.asname: alias.name.rpartition(".")[2]
        for node in ast.walk(tree)
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for alias in node.names
        if alias.asname is not None
    }
    return SourceModule(path, tree, imported)


@dataclass(frozen=True, slots=True)
class SourceIndex:
    """Every class of a project, in order of path and position.

    Classes are told apart by name alone: ``foreign`` are the names that mean a class from outside
    unless the project itself defines one of that name.
    """

    modules: tuple[SourceModule, ...]
    foreign: frozenset[str]
    _classes: dict[str, list[SourceClass]] = field(default_factory=dict)
    _aliases: dict[str, tuple[ast.expr, SourceModule]] = field(default_factory=dict)
    _imported: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for module in self.modules:
            for node in _class_statements(module.tree.body):
                self._classes.setdefault(node.name, []).append(SourceClass(node, module))
            for statement in module.tree.body:
                value = getattr(statement, "value", None)
                if isinstance(value, ast.expr):
                    for name in _bound_names(statement):
                        self._aliases.setdefault(name, (value, module))
            for name, original in module.imported.items():
                self._imported.setdefault(name, original)

    def derived_from(self, roots: frozenset[str]) -> list[SourceClass]:
        """Return the classes with one of ``roots`` among their ancestors."""
        return [
            found
            for module in self.modules
            for found in (SourceClass(node, module) for node in _class_statements(module.tree.body))
            if any(
                base in roots and not self._project_classes(base, ancestor)
                for ancestor in self._lineage(found)
                for base in self._base_names(ancestor)
            )
        ]

    def member(self, owner: SourceClass, name: str) -> tuple[ast.stmt, SourceModule] | None:
        """Return what defines ``name`` in the class or in the nearest of its project bases."""
        for candidate in self._lineage(owner):
            for statement in candidate.node.body:
                if name in _bound_names(statement):
                    return statement, candidate.module
        return None

    def functions(self, name: str) -> list[tuple[FunctionNode, SourceModule]]:
        """Return the module-level functions of that name."""
        return [
            (statement, module)
            for module in self.modules
            for statement in module.tree.body
            if isinstance(statement, FunctionNode) and statement.name == name
        ]

    def alias_value(self, name: str) -> tuple[ast.expr, SourceModule] | None:
        """Return the expression that a module of the project assigns to ``name``."""
        return self._aliases.get(name)

    def _lineage(self, owner: SourceClass) -> Iterator[SourceClass]:
        """Give the class and its project ancestors, each once, the nearest first."""
        pending = deque([owner])
        seen: set[ast.ClassDef] = set()
        while pending:
            current = pending.popleft()
            if current.node in seen:
                continue
            seen.add(current.node)
            yield current
            for base in self._base_names(current):
                pending.extend(self._project_classes(base, current))

    def _project_classes(self, name: str, child: SourceClass) -> list[SourceClass]:
        return [found for found in self._classes.get(name, []) if found.node is not child.node]

    def _base_names(self, owner: SourceClass) -> list[str]:
        return [self._original_name(owner.module.resolve(base)) for base in owner.node.bases]

    def _original_name(self, name: str) -> str:
        """Follow a name that another module of the project imported or assigned under an alias."""
        if name in self._classes or name in self.foreign:
            return name
        if name in self._imported:
            return self._imported[name]
        assigned = self.alias_value(name)
        return name if assigned is None else assigned[1].resolve(assigned[0])


def _class_statements(body: list[ast.stmt]) -> Iterator[ast.ClassDef]:
    """Give the classes at module level, those below ``if`` and ``try`` included."""
    for statement in body:
        match statement:
            case ast.ClassDef():
                yield statement
            case ast.If(body=first, orelse=second):
                yield from _class_statements([*first, *second])
            case ast.Try(body=first, orelse=second, finalbody=third):
                handled = [inner for handler in statement.handlers for inner in handler.body]
                yield from _class_statements([*first, *handled, *second, *third])


def _bound_names(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
            return [name]
        case ast.Assign(targets=targets):
            return [target.id for target in targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr()):
            return [name]
    return []
