"""Push and pull with the hub's real client over the loopback interface, on good networks and bad ones.

The client reads its environment when it is imported; here, its constants are set instead, so that one process serves
all tests. ``tests/test_hub.py`` has the same round trip through the environment, in a process of its own.
"""

import dataclasses
import errno
import io
import json
import logging
import threading
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, constants, errors
from safetensors.torch import save

from stylesdf import StyleSDF
from stylesdf.__main__ import main
from stylesdf.encoder import Encoder
from stylesdf.hub import load_discriminator
from tests.loopback_hub import TOKEN, Fault, Repo
from tests.tiny import Model

HEADS = "someone/heads"
WEIGHTS = ".*/model.safetensors"
CONFIG = ".*/config.json"


@pytest.fixture
def model(published_model) -> Model:
    return published_model


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "home" / "hub"


@pytest.fixture
def repo(hub, model, tmp_path) -> Repo:
    """A repository as a push makes it."""
    model.save_pretrained(tmp_path / "model")
    repo = hub.create(HEADS)
    repo.commit({**repo.files(), **read(tmp_path / "model")})
    return repo


def read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def changed(model: Model, by: float = 1.0, **config) -> Model:
    """Another model: other numbers, or another architecture."""
    other = Model(dataclasses.replace(model.config, **config))
    if not config:
        other.load_state_dict(model.state_dict())
    with torch.no_grad():
        other.w_avg += by
    return other


def assert_same(loaded: Model, model: Model) -> None:
    assert loaded.config == model.config
    assert all(torch.equal(a, b) for a, b in zip(loaded.state_dict().values(), model.state_dict().values()))


def half_downloads(cache: Path) -> list[Path]:
    return list(cache.rglob("*.incomplete"))


# Where a model is found


def test_push_and_pull_by_id(hub, model):
    pushed = model.push_to_hub(HEADS, private=True)
    loaded = Model.from_pretrained(HEADS)
    assert_same(loaded, model)
    assert loaded.commit_hash == pushed.oid == hub.repos[HEADS].branches["main"]
    assert loaded.card == hub.repos[HEADS].files()["README.md"].decode()
    assert hub.repos[HEADS].private
    weights = hub.repos[HEADS].files()["model.safetensors"]
    assert list(hub.blobs.values()) == [weights]  # over the LFS route
    assert hub.verified == set(hub.blobs)
    assert len(hub.asked("POST", ".*/commit/.*")) == 1  # config, weights and card in one


def test_the_inverter_comes_and_goes_with_the_model(hub, model, tmp_path):
    inverter = Encoder(model.config.latent_size, 3)
    vars(model)["inverter"] = inverter
    model.push_to_hub(HEADS)
    loaded = Model.from_pretrained(HEADS)
    assert_same(loaded, model)
    torch.testing.assert_close(loaded.inverter.head.weight, inverter.head.weight, atol=1e-6, rtol=1e-3)
    loaded.push_to_hub("someone/other")
    kept = [hub.repos[name].files()["inverter.safetensors"] for name in (HEADS, "someone/other")]
    assert kept[0] == kept[1]


def test_what_was_learned_of_other_weights_is_removed(hub, model):
    vars(model)["inverter"] = Encoder(model.config.latent_size, 3)
    model.push_to_hub(HEADS, discriminators={"encoder": torch.nn.Linear(3, 2)})
    HfApi().upload_file(path_or_fileobj=b"{}", path_in_repo="directions.json", repo_id=HEADS)
    learned = {"inverter.safetensors", "directions.json"}
    bare = changed(model, by=0.0)
    bare.push_to_hub(HEADS)  # the same weights
    assert learned <= hub.repos[HEADS].files().keys()
    changed(model).push_to_hub(HEADS, variant="fp16")  # beside them
    assert learned <= hub.repos[HEADS].files().keys()
    changed(model).push_to_hub(HEADS)
    assert not learned & hub.repos[HEADS].files().keys() and "encoder.safetensors" in hub.repos[HEADS].files()
    assert Model.from_pretrained(HEADS).inverter is None


def test_discriminators_go_beside_the_model(hub, model, tmp_path):
    judge, other = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    model.push_to_hub(HEADS, discriminators={"image": judge})
    assert_same(Model.from_pretrained(HEADS), model)
    assert load_discriminator(other, "image", HEADS)
    assert torch.equal(other.weight, judge.weight)
    assert not load_discriminator(other, "thumbnail", HEADS)
    changed(model).push_to_hub(HEADS)  # without: the one that is there stays
    assert load_discriminator(other, "image", HEADS)
    with pytest.raises(ValueError, match="has shape"):
        load_discriminator(torch.nn.Linear(4, 2), "image", HEADS)
    with pytest.raises(ValueError, match="kind is 'depth'"):
        load_discriminator(other, "depth", HEADS)
    model.save_pretrained(tmp_path)
    assert not load_discriminator(other, "image", tmp_path)


def test_pull_by_revision_and_tag(hub, repo, model):
    first = repo.branches["main"]
    HfApi().create_tag(HEADS, tag="v1.0")
    second = changed(model).push_to_hub(HEADS).oid
    assert Model.from_pretrained(HEADS).commit_hash == second
    for revision in (first, "v1.0"):
        for loaded in (Model.from_pretrained(HEADS, revision=revision), Model.from_pretrained(f"{HEADS}@{revision}")):
            assert loaded.commit_hash == first
            assert_same(loaded, model)
    refs = HfApi().list_repo_refs(HEADS)
    assert {ref.name: ref.target_commit for ref in refs.tags} == {"v1.0": first}


def test_branch(hub, repo, model):
    branch = changed(model).push_to_hub(HEADS, revision="trial/2").oid
    assert repo.branches["trial/2"] == branch != repo.branches["main"]
    assert Model.from_pretrained(f"{HEADS}@trial/2").commit_hash == branch
    assert_same(Model.from_pretrained(HEADS), model)


def test_pull_request(hub, repo, model):
    before = repo.branches["main"]
    info = changed(model).push_to_hub(HEADS, create_pr=True)
    assert info.pr_url.endswith("/discussions/1") and repo.branches["main"] == before
    loaded = Model.from_pretrained(HEADS, revision="refs/pr/1")
    assert loaded.commit_hash == info.oid
    changed(model, by=2).push_to_hub(HEADS, revision="refs/pr/1")
    assert Model.from_pretrained(f"{HEADS}@refs/pr/1").commit_hash == repo.branches["refs/pr/1"] != info.oid


def test_all_files_are_of_one_commit(hub, repo, model):
    """A push between the first file and the second."""
    other = changed(model, field_depth=3)
    original = repo.resolve

    def resolve(revision):
        if hub.asked("HEAD", WEIGHTS):
            repo.resolve = original
            repo.commit({**repo.files(), **contents(other)}, title="meanwhile")
        return original(revision)

    repo.resolve = resolve
    assert_same(Model.from_pretrained(HEADS), model)
    assert repo.titles[-1] == "meanwhile"
    assert_same(Model.from_pretrained(HEADS), other)


def contents(model: Model) -> dict[str, bytes]:
    return {
        "config.json": json.dumps(model.config.to_dict()).encode(),
        "model.safetensors": save({name: tensor.contiguous() for name, tensor in model.state_dict().items()}),
    }


def test_subfolder_variant_and_shards(hub, repo, model, cache):
    repo.commit({f"best/{name}": content for name, content in repo.files().items() if name != "README.md"})
    repo.commit({**repo.files(), "README.md": b"of the whole"})
    loaded = Model.from_pretrained(HEADS, subfolder="best")
    assert_same(loaded, model)
    assert (loaded.commit_hash, loaded.card) == (repo.branches["main"], "of the whole")
    with pytest.raises(errors.RemoteEntryNotFoundError):
        Model.from_pretrained(HEADS, subfolder="worst")

    model.push_to_hub("someone/parts", max_shard_size=10_000)
    names = set(hub.repos["someone/parts"].files())
    assert "model.safetensors.index.json" in names and "model.safetensors" not in names
    assert_same(Model.from_pretrained("someone/parts"), model)
    model.push_to_hub("someone/parts", variant="fp16")
    assert torch.allclose(Model.from_pretrained("someone/parts", variant="fp16").w_avg, model.w_avg, atol=1e-3)
    assert_same(Model.from_pretrained("someone/parts"), model)
    model.push_to_hub("someone/parts")
    names = set(hub.repos["someone/parts"].files())
    assert names == {".gitattributes", "README.md", "config.json", "model.fp16.safetensors", "model.safetensors"}


# From the cache


def test_from_the_cache(hub, repo, model):
    for revision in (None, "main"):
        Model.from_pretrained(HEADS, revision=revision)
    before = len(hub.requests)
    assert_same(Model.from_pretrained(HEADS, local_files_only=True), model)
    assert len(hub.requests) == before
    with pytest.raises(errors.LocalEntryNotFoundError):
        Model.from_pretrained("someone/else", local_files_only=True)


@pytest.mark.parametrize("how", ["local_files_only", "HF_HUB_OFFLINE"])
def test_shards_from_the_cache(how, hub, model, monkeypatch):
    """Files that the repository may have or not are not in the cache, and nothing says whether they exist."""
    model.push_to_hub(HEADS, max_shard_size=10_000)
    Model.from_pretrained(HEADS)
    for path in Path(constants.HF_HUB_CACHE).rglob(".no_exist/*/*"):
        path.unlink()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", how == "HF_HUB_OFFLINE")
    before = len(hub.requests)
    assert_same(Model.from_pretrained(HEADS, local_files_only=how == "local_files_only"), model)
    assert len(hub.requests) == before


def test_files_are_downloaded_once(hub, repo):
    for _ in range(2):
        Model.from_pretrained(HEADS)
    assert len(hub.asked("GET", WEIGHTS)) == 1
    Model.from_pretrained(HEADS, force_download=True)
    assert len(hub.asked("GET", WEIGHTS)) == 2


@pytest.mark.parametrize("kind", ["whole", "without a card", "shards"])
def test_from_the_cache_while_the_server_is_down(kind, hub, repo, model):
    """Also where the client would look for a file that the repository does not have."""
    if kind == "without a card":
        repo.commit({name: content for name, content in repo.files().items() if name != "README.md"})
    if kind == "shards":
        model.push_to_hub(HEADS, max_shard_size=10_000)
    Model.from_pretrained(HEADS)
    hub.stop()
    assert_same(Model.from_pretrained(HEADS), model)
    assert not hub.waited
    with pytest.raises(errors.LocalEntryNotFoundError):
        Model.from_pretrained("someone/else")


def test_cache_dir(hub, repo, model, tmp_path, cache):
    assert_same(Model.from_pretrained(HEADS, cache_dir=tmp_path / "mine"), model)
    assert (tmp_path / "mine" / "models--someone--heads").is_dir() and not cache.exists()


# Who may have it


def test_private_repository_needs_a_token(hub, repo, model, tmp_path):
    repo.private = True
    assert_same(Model.from_pretrained(HEADS, token=TOKEN), model)
    assert {asked.token for asked in hub.requests} == {TOKEN}
    with pytest.raises(errors.RepositoryNotFoundError):
        Model.from_pretrained(HEADS, token=False, cache_dir=tmp_path / "empty")
    with pytest.raises(errors.HfHubHTTPError) as caught:
        Model.from_pretrained(HEADS, token="hf_wrong", cache_dir=tmp_path / "empty")
    assert caught.value.response.status_code == 401


def test_gated_repository(hub, repo, model):
    repo.gated = True
    with pytest.raises(errors.GatedRepoError, match="restricted"):
        Model.from_pretrained(HEADS)
    with pytest.raises(errors.GatedRepoError):
        Model.from_pretrained(HEADS, token=False)
    repo.granted.add(TOKEN)
    assert_same(Model.from_pretrained(HEADS), model)


def test_push_needs_a_token(hub, repo, model):
    before = dict(repo.branches)
    with pytest.raises(errors.HfHubHTTPError) as caught:
        model.push_to_hub(HEADS, token="hf_wrong")
    assert caught.value.response.status_code == 401
    assert repo.branches == before


def test_what_is_not_there(hub, repo):
    with pytest.raises(errors.RepositoryNotFoundError):
        Model.from_pretrained("someone/nothing")
    with pytest.raises(errors.RevisionNotFoundError):
        Model.from_pretrained(HEADS, revision="nowhere")
    with pytest.raises(errors.RemoteEntryNotFoundError, match="model.fp16.safetensors"):
        Model.from_pretrained(HEADS, variant="fp16")
    for missing in ("model.safetensors", "config.json"):
        repo.commit({name: content for name, content in repo.files().items() if name != missing})
        for _ in range(2):  # the second time, the cache knows
            with pytest.raises(errors.RemoteEntryNotFoundError, match=missing):
                Model.from_pretrained(HEADS)
    with pytest.raises(errors.HFValidationError):
        Model.from_pretrained("some--one/heads")


# Bad networks


def test_interrupted_download_resumes(hub, repo, model, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1024)
    hub.faults.append(Fault(WEIGHTS, keep=0.5))
    assert_same(Model.from_pretrained(HEADS), model)
    whole, rest = hub.asked("GET", WEIGHTS)
    size = len(repo.files()["model.safetensors"])
    assert whole.range is None
    assert size // 3 < int(rest.range.removeprefix("bytes=").rstrip("-")) <= size // 2


def test_download_that_breaks_off_again_and_again(hub, repo, model, cache):
    hub.faults.append(Fault(WEIGHTS, times=1000, keep=0.0))
    with pytest.raises(ConnectionError, match="peer closed connection|Server disconnected"):
        Model.from_pretrained(HEADS)
    assert not half_downloads(cache)
    with pytest.raises(errors.LocalEntryNotFoundError):
        Model.from_pretrained(HEADS, local_files_only=True)
    hub.faults.clear()
    assert_same(Model.from_pretrained(HEADS), model)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
@pytest.mark.parametrize("path", [CONFIG, WEIGHTS, ".*/README.md"])
def test_server_errors_are_tried_again(method, path, hub, repo, model):
    hub.faults.append(Fault(path, method=method, status=503, times=2))
    loaded = Model.from_pretrained(HEADS)
    assert_same(loaded, model)
    assert loaded.card


def test_server_errors_that_stay(hub, repo, cache):
    hub.faults.append(Fault(WEIGHTS, status=500, times=1000))
    with pytest.raises(errors.HfHubHTTPError) as caught:
        Model.from_pretrained(HEADS)
    assert caught.value.response.status_code == 500
    assert len(hub.asked("GET", WEIGHTS)) == 3
    assert not half_downloads(cache)
    hub.faults[:] = [Fault(CONFIG, method="HEAD", status=503, times=1000)]
    with pytest.raises(errors.LocalEntryNotFoundError):
        Model.from_pretrained(HEADS, cache_dir=cache / "new")


def test_weights_that_cannot_be_had_are_not_looked_for_elsewhere(hub, repo):
    hub.faults.append(Fault(".*/model.*", method="HEAD", status=503, times=1000))
    with pytest.raises(errors.LocalEntryNotFoundError):
        Model.from_pretrained(HEADS)
    assert not hub.asked("HEAD", ".*/model.safetensors.index.json") and len(hub.waited) == 5


def test_a_card_that_cannot_be_had(hub, repo, model, caplog):
    hub.faults.append(Fault(".*/README.md", method="HEAD", status=503, times=1000))
    loaded = Model.from_pretrained(HEADS)
    assert_same(loaded, model)
    assert loaded.card is None and "README.md of someone/heads cannot be had" in caplog.text


def test_server_errors_during_a_push(hub, repo, model):
    hub.faults.append(Fault("/lfs/.*", method="PUT", status=503, times=2))
    changed(model).push_to_hub(HEADS)
    assert_same(Model.from_pretrained(HEADS), changed(model))
    before = dict(repo.branches)
    hub.faults[:] = [Fault(".*/commit/.*", method="POST", status=500)]
    with pytest.raises(errors.HfHubHTTPError):
        changed(model, by=2).push_to_hub(HEADS)
    assert repo.branches == before
    changed(model, by=2).push_to_hub(HEADS)
    assert_same(Model.from_pretrained(HEADS), changed(model, by=2))


def test_slow_server(hub, repo, model, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 2)
    hub.faults += [Fault(".*", method="HEAD", seconds=0.2, times=3), Fault(WEIGHTS, seconds=60)]
    assert_same(Model.from_pretrained(HEADS), model)
    assert len(hub.asked("GET", WEIGHTS)) >= 2  # the first took too long


# Bad files


def test_corrupt_download(hub, repo, model):
    """The client compares lengths alone; a wrong last byte is a wrong number in some tensor."""
    hub.faults.append(Fault(WEIGHTS, corrupt=True))
    for options in ({}, {}, {"local_files_only": True}):
        with pytest.raises(ValueError, match="model.safetensors of someone/heads is damaged.*force_download=True"):
            Model.from_pretrained(HEADS, **options)
    assert_same(Model.from_pretrained(HEADS, force_download=True), model)
    assert_same(Model.from_pretrained(HEADS), model)


@pytest.mark.parametrize(
    ("name", "content", "match"),
    [
        ("model.safetensors", b"\x80\x02}q\x00.", "is not a complete safetensors file"),
        ("config.json", b"{", "config.json is not JSON"),
        ("README.md", b"x" * (2 << 20), "README.md has more than"),
    ],
)
def test_bad_files_of_a_repository(name, content, match, hub, repo):
    repo.commit({**repo.files(), name: content})
    with pytest.raises(ValueError, match=match) as caught:
        Model.from_pretrained(HEADS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("shard", ["../../../../../etc/passwd", "/etc/passwd", "../config.safetensors"])
def test_index_that_leads_out_of_a_repository(shard, hub, repo):
    index = {"metadata": {}, "weight_map": {"w_avg": shard}}
    files = {name: content for name, content in repo.files().items() if name != "model.safetensors"}
    repo.commit({**files, "model.safetensors.index.json": json.dumps(index).encode()})
    with pytest.raises(ValueError, match="expected .safetensors files beside it"):
        Model.from_pretrained(HEADS)
    assert not any(shard in asked.path for asked in hub.requests)


def test_full_disk(hub, repo, model, cache, monkeypatch):
    class Full(io.BytesIO):
        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

    def open_(path, *arguments, **options):
        return Full() if path.name.endswith(".incomplete") else original(path, *arguments, **options)

    original = Path.open
    monkeypatch.setattr(Path, "open", open_)
    with pytest.raises(OSError, match="No space left"):
        Model.from_pretrained(HEADS)
    monkeypatch.setattr(Path, "open", original)
    assert not half_downloads(cache) and not list(cache.glob("*/blobs/*"))
    assert_same(Model.from_pretrained(HEADS), model)


def test_push_needs_no_disk(hub, repo, model, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "full"))
    changed(model).push_to_hub(HEADS)
    assert_same(Model.from_pretrained(HEADS), changed(model))


# Commits


def test_an_unchanged_model_makes_no_commit(hub, repo, model):
    commits = dict(repo.commits)
    for pushed in (Model.from_pretrained(HEADS), model):
        assert pushed.push_to_hub(HEADS).oid == repo.branches["main"]
    assert repo.commits == commits
    assert not hub.asked("POST", ".*/commit/.*") and not hub.asked("PUT", ".*")


def test_only_what_changed_is_uploaded(hub, repo, model):
    model.card = "another card"
    oid = changed(model).push_to_hub(HEADS, commit_message="Train on").oid
    assert repo.branches["main"] == oid and repo.titles[-1] == "Train on"
    assert len(hub.asked("PUT", ".*")) == 1


@pytest.mark.parametrize("card", ["mine", ""])
def test_a_card_of_the_repository_stays(card, hub, repo, model):
    repo.commit({**repo.files(), "README.md": card.encode()})
    changed(model).push_to_hub(HEADS, card="yours")
    assert repo.files()["README.md"] == card.encode()


def test_a_card_that_comes_meanwhile_stays(hub, model):
    repo = hub.create(HEADS)
    hub.before_commit = lambda repo: repo.commit({**repo.files(), "README.md": b"mine"})
    model.push_to_hub(HEADS)
    assert repo.files()["README.md"] == b"mine"
    assert_same(Model.from_pretrained(HEADS), model)


def test_a_push_between_comparing_and_committing(hub, repo, model):
    """Without care, the other's config stays, as it was equal when compared, with these weights: a broken model."""
    other = changed(model, field_depth=3)
    hub.before_commit = lambda repo: repo.commit({**repo.files(), **contents(other)}, title="meanwhile")
    oid = changed(model).push_to_hub(HEADS).oid
    assert oid == repo.branches["main"] and repo.titles[-2] == "meanwhile"
    assert_same(Model.from_pretrained(HEADS), changed(model))


def test_a_push_gives_up_in_the_end(hub, repo, model):
    def again(repo):
        repo.commit(repo.files(), title="meanwhile")
        hub.before_commit = again

    hub.before_commit = again
    with pytest.raises(errors.HfHubHTTPError, match="412") as caught:
        changed(model).push_to_hub(HEADS)
    assert caught.value.response.status_code == 412
    hub.before_commit = None


def test_two_pushes_race(hub, repo, model):
    """Every commit on the way is a whole model, of one or the other."""
    models = [[changed(model, by=i), changed(model, by=i, field_depth=3)] for i in range(1, 4)]
    failures = []

    def push(which: int) -> None:
        try:
            for pair in models:
                pair[which].push_to_hub(HEADS)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=push, args=(which,)) for which in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    everyone = [model for pair in models for model in pair]
    pushed = list(repo.commits)[2:]
    assert len(pushed) == 6
    for commit in pushed:
        loaded = Model.from_pretrained(HEADS, revision=commit)
        assert any(loaded.config == model.config and torch.equal(loaded.w_avg, model.w_avg) for model in everyone)


# The other route


def test_push_and_pull_over_xet(hub, model, tmp_path, monkeypatch):
    """The default of the hub, if the client has ``hf_xet``; its storage is a folder here."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    hub.xet_folder = tmp_path / "xet"
    first = model.push_to_hub(HEADS)
    assert not hub.blobs and hub.asked("GET", ".*/xet-write-token/.*")
    loaded = Model.from_pretrained(HEADS)
    assert_same(loaded, model)
    assert loaded.commit_hash == first.oid and hub.asked("GET", ".*/xet-read-token/.*")
    assert not hub.asked("GET", WEIGHTS)
    assert loaded.push_to_hub(HEADS).oid == first.oid
    changed(model).push_to_hub(HEADS)
    assert_same(Model.from_pretrained(HEADS), changed(model))


# Tokens, the command line


def test_tokens_are_not_printed_or_stored(hub, tmp_path, model, monkeypatch, capsys, caplog):
    token = "hf_SecretSecretSecret"
    hub.tokens.add(token)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_VERBOSITY", "error")
    with caplog.at_level(logging.DEBUG):
        model.push_to_hub(HEADS, token=token, private=True)
        loaded = StyleSDF.from_pretrained(HEADS, token=token)
        loaded.save_pretrained(tmp_path / "saved")
        loaded.generate(seeds=[1])
        monkeypatch.setenv("HF_TOKEN", token)
        assert main(["generate", "--model", HEADS, "--seeds", "1", "--out", str(tmp_path / "out")]) == 0
        assert main(["info", HEADS]) == 0
        for name, tokens in (("someone/nothing", token), (HEADS, token + "x")):
            monkeypatch.setenv("HF_TOKEN", tokens)
            assert main(["info", f"{name}@nowhere"]) == 2
            with pytest.raises(errors.HfHubHTTPError) as caught:
                loaded.push_to_hub(HEADS, token=token + "x")
            assert token not in str(caught.value)
    assert any(asked.token == token for asked in hub.requests)  # it was used
    captured = capsys.readouterr()
    assert token not in captured.out + captured.err + caplog.text
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert any(path.suffix == ".png" for path in written)
    for content in [path.read_bytes() for path in written] + [*hub.blobs.values(), *hub.repos[HEADS].files().values()]:
        assert token.encode() not in content


def test_command_line_takes_a_revision(hub, repo, model, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_VERBOSITY", "error")
    first = repo.branches["main"]
    HfApi().create_tag(HEADS, tag="v1")
    changed(model).push_to_hub(HEADS)
    assert main(["info", f"{HEADS}@v1"]) == 0
    assert first in capsys.readouterr().out
    assert main(["info", HEADS]) == 0
    assert repo.branches["main"] in capsys.readouterr().out
    for name in (f"{HEADS}@v2", "someone/nothing", f"{HEADS}@../../x"):
        assert main(["info", name]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.count("\n") == 1
