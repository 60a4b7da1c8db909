"""The report: built from records alone, small, honest about what was dropped, and readable in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from dataclasses import replace

import pytest
from filelock import FileLock

from argen.errors import UsageError
from argen.manifest import Journal
from argen.output import FINISH_LOCK
from argen.report.page import _write_pages, read_material, write_report
from tests import fakes
from tests.test_augmentation import recipe, run, use


@pytest.fixture
def out(monkeypatch, tmp_path):
    use(monkeypatch, fakes.PaintedGenerator(spoil=2))
    source = fakes.painted_dataset(tmp_path / "source")
    run(source, tmp_path / "out", recipe(count=4))
    return tmp_path / "out"


def test_it_shows_what_was_kept_dropped_and_why(out):
    html = (out / "report/index.html").read_text()
    assert re.search(r"disgust: 4 of 4 kept, [1-9]\d* dropped, 0 failed", html)
    assert "it hardly moves" in html
    assert "For your methods section" in html
    assert "not a reproduction" in html
    assert html.count("<article") >= 4
    assert len(html) < 1_000_000


def test_everything_it_points_to_is_on_disk_and_nothing_is_elsewhere(out):
    html = (out / "report/index.html").read_text()
    targets = re.findall(r'(?:src|href|poster)="([^"]+)"', html)
    assert targets
    for target in targets:
        assert "://" not in target
        assert (out / "report" / target).resolve().is_file(), target
    assert "base64" not in html


def test_what_is_perfect_is_no_clips_weakest_check(out):
    """`one_face` asks for 0.9, so 1.00 is just 0.1 above it."""
    material = read_material(out)
    record = material.records[0]
    scores = {"one_face": 1.0, "requested": 0.55, "smooth": 0.9}
    gate = {"one_face": 0.9, "requested": 0.2, "smooth": 0.3}
    material = replace(material, run={"recipe": {"gate": gate}})
    margins = material.margins(replace(record, scores=scores))
    assert margins == pytest.approx({"one_face": 1, "requested": 0.4375, "smooth": 6 / 7})
    assert material.margin(replace(record, scores={**scores, "one_face": 0.91})) == pytest.approx(0.1)


def test_it_can_be_built_again_without_the_models(out):
    before = (out / "report/index.html").read_text()
    shutil.rmtree(out / "report")
    assert write_report(out).read_text() == before


def test_a_clip_that_is_gone_does_not_take_the_page_with_it(out):
    (out / read_material(out).kept[-1].file_name).unlink()
    assert "disgust: 4 of 4 kept" in write_report(out).read_text()


@pytest.fixture
def written(monkeypatch):
    """The folders whose pages were written, one entry a time."""
    seen = []

    def write(material, index):
        seen.append(index.parent)
        _write_pages(material, index)

    monkeypatch.setattr("argen.report.page._write_pages", write)
    return seen


def test_of_processes_that_end_together_one_writes_it(out, written):
    """As the second finds it: all is recorded, and the page is younger than the records."""
    run(out.parent / "source", out, recipe(count=4))
    assert not written
    write_report(out)  # that is what `argen report` does, whatever there is
    assert len(written) == 1
    (out / "report/index.html").unlink()
    run(out.parent / "source", out, recipe(count=4))
    assert len(written) == 2


def test_while_others_have_jobs_left_it_is_theirs_to_write(monkeypatch, tmp_path, written):
    use(monkeypatch, fakes.PaintedGenerator())
    source = fakes.painted_dataset(tmp_path / "source")
    monkeypatch.setattr("argen.run.Run._living", lambda self: [self.shard[0]])  # it would wait for the other
    with Journal(tmp_path / "out/manifest", (1, 2)):
        (tmp_path / "out/.argen.lock").touch()
        run(source, tmp_path / "out", shard=(0, 2))
        assert not written
    run(source, tmp_path / "out", shard=(1, 2))
    assert len(written) == 1


def test_it_is_not_written_while_another_moves_clips(out, written):
    """`argen report` beside a process that ends."""
    lock = FileLock(out / "manifest" / FINISH_LOCK)
    with lock:
        thread = threading.Thread(target=write_report, args=(out,))
        thread.start()
        thread.join(0.3)
        assert not written
    thread.join()
    assert written


def test_a_poster_older_than_its_clip_is_drawn_again(out):
    record = read_material(out).kept[0]
    poster = out / "report/media" / f"{record.id}.jpg"
    before = poster.read_bytes()
    poster.write_bytes(b"of a clip that was made again")
    os.utime(poster, (1, 1))
    write_report(out)
    assert poster.read_bytes() == before


def test_a_picture_that_could_not_be_written_whole_is_not_there(out, monkeypatch):
    poster = next((out / "report/media").glob("*.jpg"))
    poster.unlink()

    def stopped(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr(type(poster), "replace", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_report(out)
    assert not poster.exists()


def test_captions_and_labels_cannot_break_the_page(out):
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    rows[0] |= {"caption": "<script>alert(1)</script>", "label": 'a"b<c>'}
    (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    html = write_report(out).read_text()
    assert "<script>alert(1)" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_the_leakage_table_finds_what_leaks(out):
    assert html_of(out).count("good") >= 4
    (out / "test").mkdir(exist_ok=True)
    subject = read_material(out).kept[0].subject
    row = {
        "file_name": "x.mp4",
        "label": "disgust",
        "subject": subject,
        "source": "test/x",
        "synthetic": True,
    }
    (out / "test/metadata.jsonl").write_text(json.dumps(row) + "\n")
    (out / "manifest/real.jsonl").write_text(json.dumps(row | {"split": "test"}) + "\n")
    html = html_of(out)
    assert re.search(r"listed in validation or test</td><td class=\"n bad\">1<", html)
    assert re.search(r"also in validation or test</td><td class=\"n bad\">1<", html)


def html_of(out) -> str:
    return write_report(out).read_text()


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no finished run"):
        write_report(tmp_path)


BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
QUIET = ("background-networking", "component-update", "sync", "gpu")
FLAGS = ("--headless", "--no-sandbox", "--no-first-run", *(f"--disable-{name}" for name in QUIET))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here")
@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_lays_it_out_without_overflow(out, tmp_path, width):
    # A page of its own asks the frame what it measures: scripts of the report stay as they are.
    report = out / "report/index.html"
    probe = out / "report/probe.html"
    probe.write_text(
        f'<iframe id="f" src="{report.name}" style="width:{width}px;height:900px;border:0"></iframe><script>'
        "f.onload=()=>{const d=f.contentDocument.documentElement;"
        "document.title=[d.scrollWidth,f.contentDocument.images.length,"
        "[...f.contentDocument.images].filter(i=>i.loading!='lazy'&&!i.naturalWidth).length].join()}</script>"
    )
    command = [
        str(BROWSER),
        *FLAGS,
        "--allow-file-access-from-files",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]
    done = subprocess.run(
        [*command, "--virtual-time-budget=2000", "--dump-dom", probe.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    measured = re.search(r"<title>(\d+),(\d+),(\d+)</title>", done.stdout)
    assert measured, done.stdout[:500]
    scroll_width, images, broken = map(int, measured.groups())
    assert scroll_width <= width
    assert images > 0
    assert broken == 0
