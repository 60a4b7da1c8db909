"""The generator that a recipe asks for."""

from __future__ import annotations

from argen.config import GenerateSettings
from argen.generate.request import Generator


def load_generator(settings: GenerateSettings) -> Generator:
    """Load `settings.generator`. Raises what its loader does, in words a user can act on."""
    if settings.generator == "warp":
        from argen.generate.warp import WarpGenerator

        return WarpGenerator(settings.size, settings.batch)
    from argen.generate.diffusion import DiffusionGenerator

    return DiffusionGenerator.load(settings, settings.device)
