"""Where models come from: the package, folders of one's own, a hub; and what is said where one can't be had."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from geryon.errors import InputError, MachineError, MissingPartError, UsageError
from geryon.nets import catalogue, hub
from geryon.nets.catalogue import find_model, known_models, names_model, own_models
from geryon.nets.encoder import MEAN_RGB, load_encoder
from geryon.nets.encoders.document import save_encoder
from geryon.nets.hub import HubFile, cache_folder, cached, place_of
from geryon.nets.model import load_model
from tests.nets import hubs

PLACE = "hub:lab/models/b.safetensors@v1"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("GERYON_MODELS", raising=False)
    return tmp_path / "cache"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """What lies on the hub."""
    (tmp_path / "hub").mkdir()
    return tmp_path / "hub"


@pytest.fixture
def client(store: Path, monkeypatch: pytest.MonkeyPatch) -> hubs.Client:
    return hubs.Client(store, monkeypatch)


def files_of(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_model_in_a_folder_of_ones_own_is_found_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    hubs.small_model(tmp_path / "b" / "lab.safetensors")
    hubs.small_model(tmp_path / "a" / "both.safetensors", name="first")
    hubs.small_model(tmp_path / "b" / "both.safetensors", name="second")
    monkeypatch.setenv("GERYON_MODELS", os.pathsep.join([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert find_model("lab") == tmp_path / "b" / "lab.safetensors"
    assert load_model("both", engine="cpu").document.name == "first"
    assert {"lab", "both", "geryon-s"} <= set(known_models())
    assert names_model("lab") and names_model(PLACE) and not names_model("owner/name")


def test_a_shipped_name_means_the_shipped_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hubs.small_model(tmp_path / "geryon-s.safetensors")
    monkeypatch.setenv("GERYON_MODELS", str(tmp_path))
    assert find_model("geryon-s") != tmp_path / "geryon-s.safetensors"
    assert own_models() == {"geryon-s": tmp_path / "geryon-s.safetensors"}


def test_an_unknown_name_is_answered_with_all_that_there_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hubs.small_model(tmp_path / "lab.safetensors")
    monkeypatch.setenv("GERYON_MODELS", os.pathsep.join([str(tmp_path), str(tmp_path / "gone")]))
    with pytest.raises(UsageError) as caught:
        find_model("labb")
    text = str(caught.value)
    assert (
        "geryon-s, geryon-s-research, geryon-s-research-signet_ring, lab" in text
        and f"names no folder: {tmp_path / 'gone'}" in text
    )
    assert "labb.safetensors" in text and "hub:OWNER" in text


def test_a_released_model_is_fetched_unless_a_copy_is_at_hand(
    store: Path, client: hubs.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hubs.small_model(store / "b.safetensors")
    monkeypatch.setitem(
        catalogue.RELEASED, "large", HubFile(repository="lab/models", file="b.safetensors", sha256=digest)
    )
    assert "large" in known_models() and load_model("large", engine="cpu").sha256 == digest
    assert client.calls == [("lab/models", "b.safetensors", "main")]
    hubs.small_model(tmp_path / "large.safetensors", name="copied")
    monkeypatch.setenv("GERYON_MODELS", str(tmp_path))
    assert find_model("large") == tmp_path / "large.safetensors"


def test_released_models_can_be_checked() -> None:
    assert all(
        len(place.sha256) == 64 and place_of(f"{place}#sha256={place.sha256}") == place
        for place in catalogue.RELEASED.values()
    )


def test_a_place_on_a_hub_is_fetched_once_and_then_needs_no_client(
    store: Path, client: hubs.Client, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = hubs.small_model(store / "b.safetensors")
    path = find_model(f"{PLACE}#sha256={digest.upper()}")
    assert path == cache / "geryon/models/lab/models/v1/b.safetensors"
    assert client.calls == [("lab/models", "b.safetensors", "v1")] and files_of(cache) == ["b.safetensors"]
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    assert find_model(PLACE) == path and find_model(f"{PLACE}#sha256={digest}") == path
    assert load_model(PLACE, engine="cpu").document.name == "lab"


def test_an_encoder_comes_from_a_hub_as_a_model_does(store: Path, client: hubs.Client, cache: Path) -> None:
    digest = save_encoder(store / "b.safetensors", {}, MEAN_RGB)
    encoder = load_encoder(f"{PLACE}#sha256={digest}", engine="cpu")
    assert encoder.sha256 == digest and encoder.document == MEAN_RGB and files_of(cache) == ["b.safetensors"]
    with pytest.raises(InputError, match="is an encoder, not a model"):
        load_model(PLACE)


def test_revisions_are_kept_apart(client: hubs.Client, store: Path) -> None:
    hubs.small_model(store / "b.safetensors")
    paths = {find_model(f"hub:lab/models/b.safetensors{at}") for at in ("", "@v1", "@refs/pr/1")}
    assert len(paths) == 3 and [revision for _, _, revision in client.calls] == ["main", "v1", "refs/pr/1"]


def test_a_wrong_sum_tells_both_and_leaves_nothing(store: Path, client: hubs.Client, cache: Path) -> None:
    digest = hubs.small_model(store / "b.safetensors")
    with pytest.raises(InputError, match=f"{digest}, not {'0' * 64}") as caught:
        find_model(f"{PLACE}#sha256={'0' * 64}")
    assert caught.value.exit_code == 3 and files_of(cache) == []


def test_a_cached_file_that_was_damaged_is_fetched_again(store: Path, client: hubs.Client) -> None:
    digest = hubs.small_model(store / "b.safetensors")
    path = find_model(PLACE)
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert hub.file_sha256(find_model(f"{PLACE}#sha256={digest}")) == digest and len(client.calls) == 2


@pytest.mark.parametrize("content", [b"<html>not here</html>", b"", b"version https://git-lfs.github.com/spec/v1\n"])
def test_what_is_no_model_is_not_kept(content: bytes, store: Path, client: hubs.Client, cache: Path) -> None:
    (store / "b.safetensors").write_bytes(content)
    with pytest.raises(InputError, match="is no model of ours and was not kept"):
        find_model(PLACE)
    assert files_of(cache) == []


def test_a_file_cut_short_is_not_kept(store: Path, client: hubs.Client, cache: Path) -> None:
    hubs.small_model(store / "b.safetensors")
    (store / "b.safetensors").write_bytes((store / "b.safetensors").read_bytes()[:-100])
    with pytest.raises(InputError, match="is cut short"):
        find_model(PLACE)
    assert files_of(cache) == []


@pytest.mark.parametrize(
    ("stop", "becomes"),
    [
        (KeyboardInterrupt(), KeyboardInterrupt),
        (ConnectionError("connection lost\nafter half"), InputError),
        (OSError(errno.ENOSPC, "No space left on device"), MachineError),
    ],
)
def test_an_interrupted_fetch_leaves_nothing_and_the_next_is_whole(
    stop: BaseException, becomes: type[BaseException], store: Path, client: hubs.Client, cache: Path
) -> None:
    hubs.small_model(store / "b.safetensors")
    client.fails = stop
    with pytest.raises(becomes) as caught:
        find_model(PLACE)
    assert files_of(cache) == []
    if becomes is InputError:
        assert "can't be fetched: connection lost after half;" in str(caught.value)
        assert "set GERYON_MODELS to that folder and give the model as b" in str(caught.value)
    client.fails = None
    assert load_model(PLACE, engine="cpu").document.name == "lab"


def test_without_the_client_it_says_what_brings_it_and_what_needs_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPartError, match=r'pip install "geryon\[hub\]", or .* GERYON_MODELS') as caught:
        find_model(PLACE)
    assert caught.value.exit_code == 4


def test_a_cache_that_can_not_be_written_says_how_to_choose_another(
    store: Path, client: hubs.Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hubs.small_model(store / "b.safetensors")
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(MachineError, match="set XDG_CACHE_HOME"):
        find_model(PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "hub:",
        "hub:lab/b.safetensors",
        "hub:lab/models/b.bin",
        "hub:lab/models/../../b.safetensors",
        "hub:lab/../b.safetensors",
        "hub:../models/b.safetensors",
        "hub:lab/models//b.safetensors",
        "hub:lab/models/b.safetensors@",
        "hub:lab/models/b.safetensors#sha256=12",
        "hub:lab/models/b.safetensors#" + "0" * 64,
    ],
)
def test_what_is_no_place_is_refused_before_anything_is_asked(text: str, client: hubs.Client) -> None:
    with pytest.raises(UsageError, match="write hub:OWNER/NAME/FILE.safetensors"):
        find_model(text)
    assert client.calls == []


def test_a_revision_does_not_lead_out_of_the_cache() -> None:
    path = cached(place_of("hub:lab/models/sub/b.safetensors@../../x"))
    assert cache_folder() / "models" / "lab" / "models" in path.parents and ".." not in path.parts


def test_the_cache_lies_where_the_system_keeps_such_things(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    found = {}
    for platform in ("linux", "darwin", "win32"):
        monkeypatch.setattr(sys, "platform", platform)
        found[platform] = cache_folder().relative_to(tmp_path).as_posix()
    assert found == {"linux": ".cache/geryon", "darwin": "Library/Caches/geryon", "win32": "Local/geryon/cache"}


def told(*words: str, endpoint: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "NO_PROXY": "127.0.0.1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "geryon", "info", "--json", *words], capture_output=True, text=True, env=environment
    )


def test_the_real_client_fetches_from_a_server_and_the_copy_needs_none(store: Path, cache: Path) -> None:
    if find_spec("huggingface_hub") is None:
        pytest.skip("the extra hub is not installed")
    digest = hubs.small_model(store / "b.safetensors")
    with hubs.serving(store) as (endpoint, asked):
        first = told(f"{PLACE}#sha256={digest}", "hub:lab/models/none.safetensors", endpoint=endpoint)
    assert "GET /lab/models/resolve/v1/b.safetensors" in asked and files_of(cache) == ["b.safetensors"]
    facts, fault = map(json.loads, first.stdout.splitlines())
    assert first.returncode == 6 and facts["name"] == "lab" and facts["topology"] == "geryon-b"
    assert fault["exit_code"] == 3 and "can't be fetched" in fault["error"]
    again = told(PLACE, endpoint=endpoint)
    assert again.returncode == 0 and json.loads(again.stdout)["sha256"] == digest


def test_a_file_of_that_name_beside_does_not_stand_in_for_a_shipped_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "geryon-s").write_text("no model")
    assert find_model("geryon-s").name == "geryon-s.safetensors"
