"""ARGen: a folder of face clips in, a bigger one out; every synthetic clip judged and traceable.

import argen

dataset = argen.read_dataset("clips")
recipe = argen.load_recipe("recipe.yaml")
for record in argen.augment(dataset, recipe, "bigger"):
    print(record.label, record.status, record.reason)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from argen.augmentation import augment
    from argen.config import Recipe, load_recipe
    from argen.dataset.read import read_dataset
    from argen.manifest import Record
    from argen.plan import Plan, make_plan

__all__ = ["Plan", "Recipe", "Record", "augment", "load_recipe", "make_plan", "read_dataset"]

_HOMES = {
    "augment": "argen.augmentation",
    "Recipe": "argen.config",
    "load_recipe": "argen.config",
    "read_dataset": "argen.dataset.read",
    "Record": "argen.manifest",
    "Plan": "argen.plan",
    "make_plan": "argen.plan",
}


def __getattr__(name: str) -> object:
    # Imported on first use: `argen --help` must not pay for numpy.
    if name not in _HOMES:
        raise AttributeError(f"module 'argen' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
