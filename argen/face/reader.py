"""Loading the reader that a recipe asks for."""

from __future__ import annotations

import logging

from argen.config import FaceSettings
from argen.face import pyfeat_weights
from argen.face.track import FaceReader

log = logging.getLogger(__name__)


def load_reader(settings: FaceSettings, device: str = "cpu") -> FaceReader:
    """The recipe's reader; `auto` takes py-feat where its weights are at hand, else MediaPipe.

    `device`, as a recipe writes it, is for py-feat; the others are small and stay on the processor.

    Raises ModelUnavailable or MissingPackage, with the remedy.
    """
    chosen = settings.reader if settings.reader != "auto" else _at_hand(settings)
    if chosen == "puppet":
        from argen.puppets.reader import PuppetReader

        return PuppetReader()
    if chosen == "pyfeat":
        from argen.device import torch_device
        from argen.face.pyfeat_reader import PyfeatReader

        weights = pyfeat_weights.find(settings.weights, download=settings.reader == "pyfeat")
        return PyfeatReader(weights, str(torch_device(device)), settings.landmarker)
    from argen.face.mediapipe_reader import MediapipeReader

    return MediapipeReader(settings.landmarker)


def _at_hand(settings: FaceSettings) -> str:
    chosen = "pyfeat" if pyfeat_weights.at_hand(settings.weights) else "mediapipe"
    reason = "its weights are at hand" if chosen == "pyfeat" else "py-feat's weights are not at hand"
    log.info("faces are measured by %s: %s", chosen, reason)
    return chosen
