"""Whether clips show what their label says, by a judge that no generator, gate or reward has met."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from argen.dataset.clip import Clip
from argen.recogniser.frames import FrameCache


def judged(clips: Sequence[Clip], cache: FrameCache, reader: str, size: int) -> dict[str, float]:
    """Share of clips whose label the puppets' judge gives, per class and over `all`; empty on real faces."""
    from argen.puppets.expressions import BASIC
    from argen.puppets.judge import Judge

    known = [clip for clip in clips if clip.label in BASIC]
    if reader != "puppet" or not known:
        return {}
    judge, hits = Judge(), defaultdict[str, list[bool]](list)
    for clip in known:
        hits[clip.label].append(judge(np.array(cache(clip, size))).label == clip.label)
    every = [hit for found in hits.values() for hit in found]
    return {"all": float(np.mean(every)), **{label: float(np.mean(found)) for label, found in hits.items()}}
