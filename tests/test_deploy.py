"""The page on the hub: which files go there, how often, and what is said when they cannot."""

import shutil
from pathlib import Path

import pytest
from huggingface_hub import RepoCard

from stylesdf import StyleSDF
from stylesdf.config import DEFAULT_MODEL
from stylesdf.demo import deploy
from stylesdf.demo.deploy import main, space_files
from stylesdf.demo.live import live_link
from tests.loopback_hub import Fault

ROOT = Path(__file__).parents[1]
SPACE = "spaces/someone/heads"
EXPECTED = {"app.py", "requirements.txt", "README.md", "LICENSE"}


@pytest.fixture
def checkpoint(published_model, tmp_path) -> Path:
    folder = tmp_path / "tiny-heads"
    published_model.save_pretrained(folder)
    (folder / ".secret").write_text("mine")
    (folder / "discriminator_image.safetensors").write_bytes(b"")
    return folder


@pytest.fixture
def clone(tmp_path, monkeypatch) -> Path:
    """The part of the repository that a Space is made of, to be changed at will, and things that are not."""
    root = tmp_path / "clone"
    shutil.copytree(ROOT / "stylesdf", root / "stylesdf")
    for name in (*EXPECTED, "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, root)
    (root / "stylesdf" / ".env").write_text("token")
    (root / "stylesdf" / "__pycache__").mkdir(exist_ok=True)
    (root / "stylesdf" / "__pycache__" / "app.pyc").write_bytes(b"\0")
    monkeypatch.setattr(deploy, "ROOT", root)
    return root


def run(*argv, checkpoint: Path) -> int:
    return main(["someone/heads", "--checkpoint", str(checkpoint), *argv])


def fails(capsys, status: int) -> str:
    captured = capsys.readouterr()
    assert status == 2 and captured.out == ""
    said = [line for line in captured.err.splitlines() if "\r" not in line and "%|" not in line and line]
    assert len(said) == 1 and said[0].startswith("stylesdf: error: ")  # beside the hub's own progress bars
    return said[0]


def test_a_space_is_made_of_these_files(clone, checkpoint):
    names = set(space_files(clone, checkpoint))
    ours = {name for name in names if name.startswith("stylesdf/")}
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "stylesdf").rglob("*.py")}
    assert ours >= sources and not [name for name in ours if "__pycache__" in name or "/." in name]
    model = {f"checkpoints/tiny-heads/{name}" for name in ("config.json", "model.safetensors", "README.md")}
    assert names - ours == EXPECTED | model


def test_a_space_is_created_then_left_alone_then_updated(hub, clone, checkpoint, capsys):
    assert run("--private", "--hardware", "t4-small", checkpoint=checkpoint) == 0
    assert capsys.readouterr().out == f"{hub.url}/spaces/someone/heads\n"
    space, expected = hub.repos[SPACE], space_files(clone, checkpoint)
    files = space.files()
    assert {name: path.read_bytes() for name, path in expected.items()} == {
        name: content for name, content in files.items() if name != ".gitattributes"
    }
    assert (space.private, space.hardware, space.variables) == (
        True, "t4-small", {"STYLESDF_MODEL": "checkpoints/tiny-heads"}
    )  # fmt: skip
    commits, sent = len(space.commits), [len(hub.asked("POST", f".*/{name}")) for name in ("variables", "hardware")]
    assert run("--hardware", "t4-small", checkpoint=checkpoint) == 0
    assert capsys.readouterr().out.endswith("heads (nothing changed)\n") and len(space.commits) == commits
    assert [len(hub.asked("POST", f".*/{name}")) for name in ("variables", "hardware")] == sent == [1, 1]

    space.commit({**space.files(), "stylesdf/gone.py": b"old", "picture.png": b"the owner's"})
    (clone / "app.py").write_text("changed = True\n")
    assert run(checkpoint=checkpoint) == 0
    files = space.files()
    assert files["app.py"] == b"changed = True\n" and files["picture.png"] == b"the owner's"
    assert "stylesdf/gone.py" not in files and len(space.commits) == commits + 2 and space.hardware == "t4-small"


def test_the_model_goes_to_a_repository_of_its_own(hub, clone, checkpoint, capsys):
    assert run("--model-repo", "someone/model", checkpoint=checkpoint) == 0
    assert len(capsys.readouterr().out.split()) == 2
    loaded = StyleSDF.from_pretrained("someone/model")
    assert loaded.config == StyleSDF.from_pretrained(checkpoint).config
    commits = len(hub.repos["someone/model"].commits)
    assert run("--model-repo", "someone/model", checkpoint=checkpoint) == 0
    assert len(hub.repos["someone/model"].commits) == commits


def test_a_dry_run_lists_files_and_sends_nothing(hub, clone, checkpoint, capsys):
    assert run("--model-repo", "someone/model", "--dry-run", checkpoint=checkpoint) == 0
    *lines, total = capsys.readouterr().out.splitlines()
    sizes = {name: int(size.replace(",", "")) for size, name in (line.split() for line in lines)}
    assert sizes == {name: path.stat().st_size for name, path in space_files(clone, checkpoint).items()}
    assert int(total.split()[0].replace(",", "")) == sum(sizes.values())
    assert hub.requests == []


@pytest.mark.parametrize(
    "status, message",
    [(401, "hf auth login"), (402, "paid plan"), (403, "may not write"), (500, "(500)")],
)
def test_a_refusal_is_one_line(hub, clone, checkpoint, capsys, status, message):
    hub.faults.append(Fault("/api/repos/create", "POST", times=9, status=status))
    assert message in fails(capsys, run(checkpoint=checkpoint))
    assert SPACE not in hub.repos


def test_a_missing_token_and_a_race_are_one_line(hub, clone, checkpoint, capsys, monkeypatch):
    hub.before_commit = lambda repo: repo.commit({**repo.files(), "other": b""})
    assert "somebody else committed meanwhile" in fails(capsys, run(checkpoint=checkpoint))
    monkeypatch.delenv("HF_TOKEN")
    assert "hf auth login" in fails(capsys, run(checkpoint=checkpoint))


def test_a_hub_that_is_down_is_one_line(hub, clone, checkpoint, capsys):
    hub.stop()
    fails(capsys, run(checkpoint=checkpoint))


def test_what_cannot_be_deployed_is_one_line(hub, clone, checkpoint, capsys):
    assert "'heads' is not a repository of the hub" in fails(capsys, main(["heads"]))
    assert "'a/b@c' is not a repository" in fails(capsys, run("--model-repo", "a/b@c", checkpoint=checkpoint))
    assert "has no config.json" in fails(capsys, run(checkpoint=clone))
    readme = (clone / "README.md").read_text()
    (clone / "README.md").write_text(readme.replace("sdk: gradio", "sdk: docker"))
    assert "front matter of a Gradio Space" in fails(capsys, run(checkpoint=checkpoint))
    (clone / "README.md").write_text(readme)
    (clone / "stylesdf" / "link.py").symlink_to(clone / "pyproject.toml")
    assert "link.py is a link" in fails(capsys, run(checkpoint=checkpoint))
    (clone / "app.py").unlink()
    assert "has no app.py, expected a clone" in fails(capsys, run(checkpoint=checkpoint))
    assert hub.repos == {}


def test_the_repository_itself_can_be_deployed(bundled):
    files = space_files(ROOT, bundled)
    assert {"app.py", "stylesdf/pipeline.py", f"{DEFAULT_MODEL}/model.safetensors"} <= set(files)


# ---- the live page as a static Space


@pytest.fixture
def small(tiny_toy_config, tmp_path) -> Path:
    """A model that a live page can draw."""
    model = StyleSDF(tiny_toy_config).eval()
    model.update_means(100)
    model.save_pretrained(tmp_path / "small")
    return tmp_path / "small"


def test_the_live_page_is_a_static_space(hub, small, capsys):
    assert main(["someone/heads-live", "--static", "--private", "--checkpoint", str(small)]) == 0
    assert capsys.readouterr().out == f"{hub.url}/spaces/someone/heads-live\n"
    space = hub.repos["spaces/someone/heads-live"]
    files = {name: content.decode() for name, content in space.files().items() if name != ".gitattributes"}
    assert set(files) == {"README.md", "index.html"} and space.private and space.variables == {}
    front = RepoCard(files["README.md"]).data
    assert (front.sdk, front.app_file, front.license) == ("static", "index.html", "apache-2.0")
    assert "startViewer()" in files["index.html"] and "spaces/someone" not in files["index.html"] + files["README.md"]
    commits = len(space.commits)
    assert main(["someone/heads-live", "--static", "--checkpoint", str(small)]) == 0
    assert capsys.readouterr().out.endswith("(nothing changed)\n") and len(space.commits) == commits


def test_studio_and_live_page_link_each_other(hub, clone, checkpoint, small, monkeypatch):
    assert run(checkpoint=checkpoint) == 0
    for _ in range(2):
        assert main(["someone/heads-live", "--static", "--checkpoint", str(small)]) == 0
    files = hub.repos["spaces/someone/heads-live"].files()
    address = "https://huggingface.co/spaces/someone/heads"
    assert f'"studio": "{address}"'.encode() in files["index.html"] and f"({address})".encode() in files["README.md"]
    assert hub.repos[SPACE].variables["STYLESDF_LIVE"] == "someone/heads-live"
    assert len(hub.asked("POST", ".*/variables")) == 2  # once for the model, once for the link
    monkeypatch.setenv("STYLESDF_LIVE", "someone/heads-live")
    assert live_link().endswith(f"({address}-live).")
    monkeypatch.setenv("STYLESDF_LIVE", "a/b@) [evil](y")
    assert live_link() == ""


def test_what_cannot_be_a_static_space_is_one_line(hub, clone, checkpoint, small, capsys):
    static = ["someone/heads-live", "--static"]
    assert "colour depends on the viewing direction" in fails(capsys, main([*static, "--checkpoint", str(checkpoint)]))
    status = main([*static, "--checkpoint", str(small), "--hardware", "t4-small"])
    assert "a static Space has no machine" in fails(capsys, status)
    assert hub.repos == {}
    assert main([*static, "--checkpoint", str(small), "--dry-run"]) == 0
    assert {line.split()[1] for line in capsys.readouterr().out.splitlines()} == {"README.md", "index.html", "bytes"}
    assert hub.repos == {}
