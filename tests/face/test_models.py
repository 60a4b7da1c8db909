import hashlib
import http.server
import threading
from pathlib import Path

import pytest

from argen.errors import ModelUnavailable
from argen.face import models

CONTENT = b"weights of nothing" * 1000
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("ARGEN_CACHE", str(folder))
    return folder


@pytest.fixture
def server(tmp_path):
    served = tmp_path / "served"
    served.mkdir()
    (served / "model.bin").write_bytes(CONTENT)

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(served), **kwargs)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def nowhere(cache, monkeypatch):
    """No package carries the landmarker; `known(url)` says where it would be downloaded from."""

    def known(url: str, sha256: str = HASH) -> None:
        model = models.ModelFile("model.bin", sha256, (("no_such_package", "x"),), url, "pip install carrier")
        monkeypatch.setitem(models.MODELS, "landmarker", model)

    return known


def test_a_download_is_checked_and_kept(cache, server, nowhere):
    nowhere(f"{server}/model.bin")
    path = models.locate("landmarker")
    assert path == cache / "model.bin"
    assert path.read_bytes() == CONTENT
    assert list(cache.iterdir()) == [path], "no part file is left"


def test_a_file_address_works_too(tmp_path, cache, nowhere):
    (tmp_path / "model.bin").write_bytes(CONTENT)
    nowhere((tmp_path / "model.bin").as_uri())
    assert models.locate("landmarker").read_bytes() == CONTENT


def test_what_is_in_the_cache_is_not_downloaded_again(cache, nowhere):
    cache.mkdir()
    (cache / "model.bin").write_bytes(CONTENT)
    nowhere("http://127.0.0.1:9/never")
    assert models.locate("landmarker") == cache / "model.bin"


def test_a_wrong_hash_is_not_kept(cache, server, nowhere):
    nowhere(f"{server}/model.bin", sha256="0" * 64)
    with pytest.raises(
        ModelUnavailable, match=r"sha256 is .* not used; put the file at .*pip install carrier"
    ):
        models.locate("landmarker")
    assert not list(cache.iterdir())


def test_a_damaged_file_in_the_cache_is_passed_over_and_replaced(cache, server, nowhere, caplog):
    cache.mkdir()
    (cache / "model.bin").write_bytes(b"damaged")
    nowhere(f"{server}/model.bin")
    assert models.locate("landmarker").read_bytes() == CONTENT
    assert "passed over" in caplog.text


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/model.bin", "{server}/gone.bin", "file:///no/such/file"])
def test_an_unreachable_address_says_what_to_do(cache, server, nowhere, url):
    nowhere(url.format(server=server))
    with pytest.raises(ModelUnavailable, match=r"put the file at .*model\.bin, or pip install carrier"):
        models.locate("landmarker")


def test_a_cache_that_cannot_be_written_says_so(tmp_path, monkeypatch, server, nowhere):
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    monkeypatch.setenv("ARGEN_CACHE", str(blocked))
    nowhere(f"{server}/model.bin")
    with pytest.raises(ModelUnavailable, match="put the file at"):
        models.locate("landmarker")


def test_without_a_download_it_is_missing(cache, nowhere):
    nowhere("http://127.0.0.1:9/never")
    with pytest.raises(ModelUnavailable, match="nor in an installed package; pip install carrier"):
        models.locate("landmarker", download=False)


def test_the_recipe_comes_first_even_with_another_file(tmp_path, cache, caplog):
    mine = tmp_path / "mine.task"
    mine.write_bytes(CONTENT)
    assert models.locate("landmarker", mine) == mine
    assert "as the recipe names it" in caplog.text


def test_a_folder_of_the_recipe_is_looked_into(tmp_path, cache):
    (tmp_path / "face_landmarker.task").write_bytes(CONTENT)
    assert models.locate("landmarker", tmp_path) == tmp_path / "face_landmarker.task"


def test_a_file_of_the_recipe_that_is_not_there_is_an_error(tmp_path, cache):
    with pytest.raises(ModelUnavailable, match=r"no face_landmarker\.task there"):
        models.locate("landmarker", tmp_path / "gone.task")


@pytest.mark.parametrize("name", list(models.MODELS))
def test_installed_packages_carry_every_model(cache, name):
    path = models.locate(name, download=False)
    assert models.file_hash(path) == models.MODELS[name].sha256


def test_the_survey_names_place_and_hash(tmp_path, cache, monkeypatch):
    lost = models.ModelFile("x.bin", HASH, (("no_such_package", "x"),), remedy="pip install x")
    monkeypatch.setitem(models.MODELS, "judge", lost)
    cache.mkdir()
    (cache / "dlib_face_recognition_resnet_model_v1.dat").write_bytes(b"damaged")
    mine = tmp_path / "mine.task"
    mine.write_bytes(CONTENT)
    found = {item.name: item for item in models.survey(mine)}
    assert found["landmarker"].source == "recipe"
    assert found["landmarker"].sha256 == HASH
    assert not found["landmarker"].expected
    assert (found["identity"].source, found["identity"].expected) == ("cache", False)
    assert (found["au_to_mesh"].source, found["au_to_mesh"].expected) == ("package", True)
    assert (found["judge"].source, found["judge"].path) == ("missing", None)


def test_the_cache_is_in_the_home_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("ARGEN_CACHE", raising=False)
    assert models.cache_folder() == Path.home() / ".cache" / "argen"


@pytest.mark.parametrize("name", ["no_such_package", "argen.errors", "..bad"])
def test_only_packages_have_folders(name):
    assert models.package_folder(name) is None
