"""The two commands of train/README.md, from nothing to a model on the hub that others load, each in a new process."""

import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.loopback_hub import LoopbackHub

ROOT = Path(__file__).parents[2]
REPO = "you/toy"
STILL = ["--grid-every", "0"]  # that of the second command is published
PHASES = [f"phases.{phase}.{setting}" for phase in range(3) for setting in ("steps=1", "batch_size=2", "num_samples=2")]
TINY = {
    "renderer": [*STILL, "--set", "sphere_steps=2", "num_points=8", "game.freeze_generator_steps=0", *PHASES],
    "decoder": ["--push-to-hub", REPO, "--licence", "cc0-1.0", "--set", "steps=1", "batch_size=2", "num_renderings=2"],
}
LOAD = """
import json
from stylesdf import StyleSDF
model = StyleSDF.from_pretrained("you/toy")
result = model.generate(seeds=[3], truncation=0.7, yaw=0.3)
result.images[0].save("head.png")
print(json.dumps([model.commit_hash, model.config.image_resolution, len(model.extract_mesh(3, resolution=32).faces)]))
"""


@pytest.fixture
def run(tmp_path):
    """Run Python in an empty folder, against a hub of its own."""
    with LoopbackHub() as hub:
        environment = {
            **os.environ,
            **hub.environment(tmp_path / "home"),
            "STYLESDF_CACHE": str(tmp_path / "cache"),
            "OMP_NUM_THREADS": "1",
            "PYTHONPATH": str(ROOT),
        }

        def run(*arguments: str) -> str:
            command = [sys.executable, *arguments]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
            assert done.returncode == 0, done.stderr[-3000:]
            return done.stdout

        run.hub = hub
        yield run


def test_from_nothing_to_a_published_model(run, tmp_path):
    text = (ROOT / "train" / "README.md").read_text(encoding="utf-8")
    block = re.search(r"^```bash\n(python -m train renderer .*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    commands = [
        shlex.split(line) for line in block.replace("\\\n", " ").replace("toy-heads:6000", "toy-heads:4").splitlines()
    ]
    assert [command[:4] for command in commands] == [["python", "-m", "train", stage] for stage in TINY]
    for command in commands:
        run(*command[1:], "--device", "cpu", *TINY[command[3]])

    repo = run.hub.repos[REPO]
    files = repo.files()
    trained = tmp_path / "runs" / "toy" / "decoder" / "model"
    for name in ("config.json", "model.safetensors", "discriminator_image.safetensors"):
        assert files[name] == (trained / name).read_bytes(), name
    card = files["README.md"].decode()
    for part in ("license: cc0-1.0", "python -m train decoder", "4 pictures of `toy-heads:4`", "| steps | 1 |"):
        assert part in card, part
    assert Image.open(io.BytesIO(files["samples.png"])).size > (64, 64)

    commit, resolution, num_faces = json.loads(run("-c", LOAD))
    assert commit == repo.branches["main"] and resolution == 256 and num_faces > 0
    head = Image.open(tmp_path / "head.png")
    assert head.size == (256, 256) and len(head.getcolors(2**16)) > 100  # not one flat colour
