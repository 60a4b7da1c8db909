"""A scan in words for a terminal, and as a piece of HTML for the report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from argen.dataset.clip import Problem
from argen.dataset.scan import SHORT, Leak, Scan
from argen.dataset.tree import some

NAMED = 8  # problems and twins shown; the JSON has them all


def as_text(scan: Scan) -> str:
    """What `argen scan` prints."""
    return "\n".join(line.rstrip() for line in _lines(scan))


def as_html(scan: Scan) -> str:
    """A `<section>` with tables, no styles of its own, everything escaped."""
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in _facts(scan)
    )
    head = "".join(f"<th>{escape(split)}</th>" for split in scan.clips)
    counts = "".join(
        f"<tr><th>{escape(label)}</th>{''.join(f'<td>{n:,}</td>' for n in numbers)}</tr>"
        for label, numbers in _by_label(scan)
    )
    problems = "".join(
        f"<li><code>{escape(problem.where)}</code> {escape(problem.what)}</li>"
        for problem in (*scan.unreadable[:NAMED], *scan.problems[:NAMED])
    )
    return (
        f'<section class="scan"><h2>The dataset</h2><table>{rows}</table>'
        f"<table><tr><th>class</th>{head}</tr>{counts}</table>"
        + (f"<h3>Passed over</h3><ul>{problems}</ul>" if problems else "")
        + "</section>"
    )


def _lines(scan: Scan) -> Iterator[str]:
    for name, value in _facts(scan):
        yield f"{name:<14} {value}"
    yield ""
    width = max(len(label) for label, _ in _by_label(scan))
    yield f"{'class':<{width}} " + "".join(f"{split:>9}" for split in scan.clips)
    for label, numbers in _by_label(scan):
        yield f"{label:<{width}} " + "".join(f"{number:>9,}" for number in numbers)
    totals = [sum(counts.values()) for counts in scan.clips.values()]
    yield f"{'':<{width}} " + "".join(f"{total:>9,}" for total in totals)
    yield from _list("unreadable", scan.unreadable)
    yield from _list(
        "near-duplicates", [Problem(t.clip, f"~ {t.other} ({t.bits} of 256 bits)") for t in scan.twins]
    )
    yield from _list("passed over", scan.problems)


def _list(title: str, problems: Sequence[Problem]) -> Iterator[str]:
    if problems:
        yield ""
        yield f"{title} ({len(problems):,})"
        yield from (f"  {problem.where}: {problem.what}" for problem in problems[:NAMED])
        if len(problems) > NAMED:
            yield f"  ... and {len(problems) - NAMED:,} more: see --json"


def _facts(scan: Scan) -> Iterator[tuple[str, str]]:
    yield "folder", str(scan.root)
    yield "layout", scan.layout
    total = sum(sum(counts.values()) for counts in scan.clips.values())
    made = f", {scan.synthetic:,} of them synthetic" if scan.synthetic else ""
    yield "clips", f"{total:,} ({', '.join(f'{n:,} {kind}' for kind, n in scan.kinds.items())}){made}"
    yield "imbalance", f"{scan.imbalance:.1f} : 1 in train"
    known = scan.subjects_from != "clip"
    yield (
        "subjects",
        f"{scan.subjects:,}, by {scan.subjects_from}" if known else "not known: each clip its own",
    )
    if scan.lengths:
        lengths = f"{scan.lengths.least:.0f} / {scan.lengths.median:.0f} / {scan.lengths.most:.0f} frames"
        yield "length", f"{lengths} (least, median, most of {scan.looked_at:,}); {scan.short:,} below {SHORT}"
        yield "size", some([f"{size} ({n:,})" for size, n in scan.sizes.items()])
    if scan.rates:
        yield "rate", some([f"{rate} fps ({n:,})" for rate, n in scan.rates.items()])
    if scan.faces:
        faces = scan.faces
        yield (
            "faces",
            (
                f"{faces.with_one_face} of {faces.clips} sampled clips show one face, "
                f"{faces.with_none} none, {faces.with_several} several"
            ),
        )
    yield from (("leakage", line) for line in _leaks(scan.leak))
    yield "licence", some(list(scan.licences))
    if scan.not_redistributable:
        yield (
            "derived data",
            f"not redistributable ({scan.not_redistributable:,} clips): nor is what is made from them",
        )
    if scan.citation:
        yield "cite", scan.citation
    yield "took", f"{scan.seconds:.1f} s"


def _leaks(leak: Leak) -> Iterator[str]:
    told = (
        (leak.near_duplicates, "held-out clips have a near-duplicate in train"),
        (leak.same_subject, "held-out clips show a subject of train"),
        (leak.neighbours, "test clips are within ten ids of a training clip: likely of one film"),
    )
    for share, what in told:
        if share is not None:
            yield f"{share:.1%} of {what}"


def _by_label(scan: Scan) -> list[tuple[str, list[int]]]:
    labels = sorted({label for counts in scan.clips.values() for label in counts})
    return [(label, [counts.get(label, 0) for counts in scan.clips.values()]) for label in labels]
