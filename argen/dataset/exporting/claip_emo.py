"""CLAIP-Emo, audio-visual: `<folder of frames> <audio.wav> <label>`, no header.

DFEW/audio_visual/split01/{train,val,test}.csv, sound in DFEW/audio_16k/, 16 kHz, one channel

A clip without sound is left out, because a model would learn that silence means synthetic; or, if asked,
is given silence.
"""

from __future__ import annotations

import subprocess
import wave
from pathlib import Path

from argen.dataset.clip import Clip
from argen.dataset.exporting.entry import Format, Lists, Target
from argen.dataset.exporting.lines import write_lines
from argen.dataset.video import ffmpeg, probe
from argen.errors import UnreadableClip

RATE = 16_000


def place(target: Target, clip: Clip, name: str) -> str:
    """Frames of a clip."""
    return f"{target.dataset}/clip_jpg_256/{name}"


def sound_path(target: Target, name: str) -> str:
    """Sound of a clip, below the export."""
    return f"{target.dataset}/audio_16k/{name}.wav"


def write(target: Target, lists: Lists) -> None:
    """One file a list; every clip in them has its sound."""
    folder = target.out / target.dataset / "audio_visual" / f"split{target.fold:02d}"
    prefix = f"{target.prefix.rstrip('/')}/" if target.prefix else ""
    for name, entries in lists.items():
        rows = (
            f"{entry.at(target.prefix)} {prefix}{sound_path(target, entry.name)} {entry.number}"
            for entry in entries
        )
        write_lines(folder / f"{name}.csv", rows)


def put_sound(clip: Clip, path: Path, silence: bool) -> bool:
    """Extract a clip's sound, or write silence of its length; False if there is none and none is wanted.

    `path` appears only when it is whole. Raises UnreadableClip.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() or (clip.kind == "video" and _extract(clip.path, path)):
        return True
    if not silence:
        return False
    info = probe(clip)
    part = path.with_name(path.name + ".part")
    with wave.open(str(part), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(bytes(2 * round(RATE * info.frames / info.fps)))
    part.replace(path)
    return True


def _extract(video: Path, path: Path) -> bool:
    part = path.with_name(path.name + ".part")
    command = [ffmpeg(), "-y", "-loglevel", "error", "-i", str(video), "-vn", "-ac", "1", "-ar", str(RATE)]
    command += ["-map_metadata", "-1", "-fflags", "+bitexact", "-f", "wav", str(part)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode == 0 and part.exists() and part.stat().st_size > 100:
        part.replace(path)
        return True
    part.unlink(missing_ok=True)
    if b"does not contain any stream" in done.stderr or b"matches no streams" in done.stderr:
        return False
    raise UnreadableClip(f"{video}: its sound cannot be read")


FORMAT = Format("claip-emo", "frames", place, write)
