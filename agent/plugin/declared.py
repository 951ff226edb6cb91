"""What a plugin's class says of itself, read from its source: for which API it is written, and where it is to run.

Importing a plugin is running its code: one for another API may do anything there, and one with large libraries is to
bring them into its own process only. So the module's file is found as an import would find it, but with nothing
imported on the way (parents included), and is only parsed.
"""

from __future__ import annotations

import ast
import sys
from importlib.machinery import ModuleSpec, SourceFileLoader

Versions = tuple[int, int]

_MOST_HOPS = 5  # from a module that only imports the class to the one that has it


def declared_versions(entry_point: str) -> Versions | None:
    """The least and the greatest API version of the class that "package.module:Class" names.

    None when the source does not tell: there is none, the class is made otherwise than by `class`, or `api_version` is
    not a plain number or pair of numbers in it. Then only an import can tell.
    """
    return as_versions(_declared(entry_point, "api_version"))


def declares_process(entry_point: str) -> bool:
    """Whether the class has `isolation = "process"`: its own process, unless its table says otherwise."""
    return _declared(entry_point, "isolation") == "process"


def _declared(entry_point: str, attribute: str) -> object:
    """What the class has as this attribute, if that is a literal; else None."""
    module, _, name = entry_point.partition(":")
    try:
        return _in_module(module.strip(), name.partition("[")[0].strip(), attribute, _MOST_HOPS)
    except Exception:  # noqa: BLE001  # finders of other packages, odd files: whatever it is, the import will tell
        return None


def _in_module(module: str, name: str, attribute: str, hops: int) -> object:
    spec = find_module(module)
    if spec is None or not name or not isinstance(spec.loader, SourceFileLoader):
        return None
    tree = ast.parse(spec.loader.get_data(spec.loader.path))
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name]
    if classes:
        return _in_class(classes[0], attribute) if len(classes) == 1 else None
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and hops:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return _in_module(_absolute(node, spec), alias.name, attribute, hops - 1)
    return None


def find_module(module: str) -> ModuleSpec | None:
    """A module's spec, or None. importlib.util.find_spec gives the same, and imports the parents."""
    path, spec = None, None
    parts = module.split(".")
    for depth in range(1, len(parts) + 1):
        name = ".".join(parts[:depth])
        found = (finder.find_spec(name, path) for finder in sys.meta_path)
        spec = next((candidate for candidate in found if candidate is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def _absolute(node: ast.ImportFrom, spec: ModuleSpec) -> str:
    if not node.level:
        return node.module or ""
    package = spec.name if spec.submodule_search_locations is not None else spec.name.rpartition(".")[0]
    for _ in range(node.level - 1):
        package = package.rpartition(".")[0]
    return f"{package}.{node.module}" if node.module else package


def _in_class(node: ast.ClassDef, attribute: str) -> object:
    values = [
        statement.value
        for statement in node.body
        if isinstance(statement, (ast.Assign, ast.AnnAssign))
        for target in (statement.targets if isinstance(statement, ast.Assign) else [statement.target])
        if isinstance(target, ast.Name) and target.id == attribute
    ]
    if len(values) != 1 or values[0] is None:
        return None
    return ast.literal_eval(values[0])


def as_versions(declared: object) -> Versions | None:
    """What `api_version` says, a number or a pair of numbers; None when it is neither."""
    low, high = declared if isinstance(declared, tuple) and len(declared) == 2 else (declared, declared)
    if type(low) is not int or type(high) is not int:
        return None
    return low, high
