"""A paragraph for the methods section, from what the run recorded; no number in it is typed by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from argen.manifest import Record

PROFILES: Final = {"class clips": "the class's own training clips", "prototype": "published prototypes"}


def methods(run: Mapping[str, Any], records: Sequence[Record]) -> str:
    """What was done, with numbers, versions and what to cite."""
    import jinja2

    text = (Path(__file__).parent / "templates" / "methods.txt.jinja").read_text(encoding="utf-8")
    kept = [record for record in records if record.kept]
    by_label = sorted(Counter(record.label for record in kept).items())
    made_by = run["models"]["generator"]
    model = f"by image-to-video diffusion ({made_by.get('model', 'a model')})"
    page = jinja2.Template(text).render(
        run=run,
        versions=run["versions"],
        added=", ".join(f"{count} of {label}" for label, count in by_label) or "no",
        subjects=len({record.subject for record in kept}),
        generator=model if made_by["generator"] == "diffusion" else "whose pixels follow an Action Unit mesh",
        profile=" and ".join(PROFILES[name] for name in sorted({r.profile for r in kept} & set(PROFILES))),
        dropped=sum(record.status == "dropped" for record in records),
        total=len(records),
    )
    return " ".join(page.split())
