from collections.abc import Iterator

import pytest

from argen.face.mediapipe_reader import MediapipeReader


@pytest.fixture(scope="session")
def reader() -> Iterator[MediapipeReader]:
    loaded = MediapipeReader()
    yield loaded
    loaded.close()
