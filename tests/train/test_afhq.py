"""The walkthrough for AFHQ: its commands are taken as they stand, and its metrics mean something on cats."""

import re
import shlex
from pathlib import Path

import pytest

from train.__main__ import main
from train.evaluation.registry import METRICS

TEXT = (Path(__file__).parents[2] / "train" / "AFHQ.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
LINES = [shlex.split(line, comments=True) for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]
COMMANDS = [line[3:] for line in LINES if line[:3] == ["python", "-m", "train"]]
TRAINING = [command for command in COMMANDS if command[0] != "evaluate"]


@pytest.mark.parametrize("command", TRAINING, ids=lambda command: " ".join(command)[:60])
def test_a_run_of_the_walkthrough_is_accepted(command, capsys):
    assert main([*command, "--dry-run"]) == 0, capsys.readouterr().err


def test_the_walkthrough_goes_from_stage_1_to_numbers():
    assert {command[0] for command in COMMANDS} == {"renderer", "decoder", "evaluate"} and len(TRAINING) >= 5
    settings = [set(command) for command in TRAINING]
    assert any("game.ada_target=0.6" in words for words in settings)
    assert any("game.use_relativistic_loss=true" in words for words in settings)


def test_metrics_of_the_walkthrough_need_no_subject_and_no_plain_background():
    for command in (command for command in COMMANDS if command[0] == "evaluate"):
        assert "label=cat" in command
        names = command[command.index("--metrics") + 1 :]
        names = names[: next((index for index, word in enumerate(names) if word.startswith("--")), None)]
        assert names and not [name for name in names if {"subject", "background"} & set(METRICS[name].needs)]
