"""Finds what is shipped beside the engine: prompts, rewards, pipelines, configs.

In a checkout they are top-level folders; in an installed wheel they sit in `argen/_bundled/`. A
reference is a bare name (`identity`: ours), a file (`./mine.py:smile`: yours) or an import path
(`package.module:smile`).
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from argen.errors import RecipeError, did_you_mean

Folder = Literal["prompts", "rewards", "pipelines", "configs"]


def folder(name: Folder) -> Path:
    """Where one of the four editable folders lives."""
    bundled = Path(__file__).parent / "_bundled" / name
    return bundled if bundled.is_dir() else Path(__file__).parent.parent / name


def names(kind: Folder) -> dict[str, Path]:
    """Bare name -> file, for everything that ships in a folder."""
    root = folder(kind)
    files = sorted(
        path for path in root.rglob("*.*") if path.suffix in {".py", ".yaml", ".yml", ".txt", ".jsonl"}
    )
    return {
        path.relative_to(root).with_suffix("").as_posix(): path
        for path in files
        if not path.name.startswith("_") and "__pycache__" not in path.parts
    }


def find(kind: Folder, reference: str) -> Path:
    """The file behind a bare name or a path. Raises RecipeError with the names that exist."""
    if Path(reference).suffix and Path(reference).is_file():
        return Path(reference)
    known = names(kind)
    if reference in known:
        return known[reference]
    raise RecipeError(f"{kind}: no '{reference}'{did_you_mean(reference, known)}")


def code_hash(kind: Folder, reference: str) -> str:
    """Hash of the file behind a function's name; "" for one of an installed package."""
    target = reference.partition(":")[0]
    if not target.endswith(".py") and target not in names(kind):
        return ""
    return hashlib.sha256(find(kind, target).read_bytes()).hexdigest()[:12]


def load_function(kind: Folder, reference: str) -> Callable[..., Any]:
    """The function behind `name`, `./file.py:function` or `package.module:function`.

    A bare name means the function of the same name in our file of that name.
    """
    target, _, attribute = reference.partition(":")
    if target.endswith(".py") or target in names(kind):
        path = find(kind, target)
        module_name = f"argen_{kind}_{path.stem}"
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise RecipeError(f"{kind}: {path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except Exception as error:  # somebody's file may fail in any way
            raise RecipeError(
                f"{kind}: {path} fails as it is read: {type(error).__name__}: {error}"
            ) from error
        attribute = attribute or path.stem
    elif attribute:
        try:
            module = importlib.import_module(target)
        except ImportError as error:
            raise RecipeError(f"{kind}: cannot import '{target}': {error}") from error
    else:
        raise RecipeError(f"{kind}: no '{reference}'{did_you_mean(reference, names(kind))}")
    function = getattr(module, attribute, None)
    if not callable(function):
        public = [name for name in vars(module) if not name.startswith("_")]
        raise RecipeError(
            f"{kind}: '{target}' has no function '{attribute}'{did_you_mean(attribute, public)}"
        )
    return function  # type: ignore[no-any-return]
