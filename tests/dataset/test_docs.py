"""docs/datasets.md says what the code does."""

import re
from pathlib import Path

from argen.dataset.exporting.export import FORMATS
from argen.dataset.layouts import LAYOUTS

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")


def names_in_first_column(title: str) -> set[str]:
    table = PAGE.partition(title)[2].partition("\n\n")[0]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_layout_and_every_format_is_on_the_page():
    assert names_in_first_column("| `--layout`") == {layout.name for layout in LAYOUTS}
    assert names_in_first_column("| `--format`") == {form.name for form in FORMATS}
