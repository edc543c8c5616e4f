"""The training loop of both stages, on one page: prepare or resume, step, log, save, draw, publish."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path

from tqdm import tqdm

from stylesdf.hub import save_model
from train.config import to_dict
from train.grid import sample_grid


def train(
    stage, out: Path, save_every: int = 200, log_every: int = 20, grid_every: int = 500, card: str | None = None
) -> Path:
    """Run a stage to its end; the same call goes on where a stopped one was last saved.

    Args:
        stage: ``RendererStage`` or ``DecoderStage``.
        out: Folder of the run: ``state/``, ``log.jsonl``, ``grids/`` and, at the end, ``model/``.
        save_every: Steps between states.
        log_every: Steps between lines of the log.
        grid_every: Steps between sample grids.
        card: README of the model.

    Returns:
        The folder of the averaged model.

    Raises:
        ValueError: ``out`` holds a run with other settings.
        FloatingPointError: A loss is not finite; the last saved state is untouched.
    """
    out.mkdir(parents=True, exist_ok=True)
    _same_settings(stage, out / "settings.json")
    if stage.state.restore(out / "state"):
        _drop_lines_after(out / "log.jsonl", stage.state.step)
    else:
        stage.prepare(lambda step, loss: tqdm.write(f"sphere initialisation: step {step}, mean error {loss:.5f}"))
    total = stage.config.total_steps
    started, first = time.monotonic(), stage.state.step
    with tqdm(total=total, initial=first, desc=stage.name, mininterval=5) as bar, open(out / "log.jsonl", "a") as log:
        try:
            while stage.state.step < total:
                record = stage.step()
                step = stage.state.step
                bar.update()
                broken = [name for name, value in record.items() if not math.isfinite(value)]
                if broken:
                    raise FloatingPointError(f"{broken[0]} is {record[broken[0]]} at step {step}")
                if step % log_every == 0 or step == total:
                    seconds = (time.monotonic() - started) / (step - first)
                    log.write(json.dumps({"step": step, **record, "seconds_per_step": round(seconds, 4)}) + "\n")
                    log.flush()
                    bar.set_postfix(
                        {name: f"{record[name]:.4g}" for name in ("d_loss", "g_loss", "beta") if name in record}
                    )
                if step % grid_every == 0 or step == total:
                    (out / "grids").mkdir(exist_ok=True)
                    sample_grid(stage.generator_ema, **stage.grid_options()).save(out / "grids" / f"{step:08d}.png")
                if step % save_every == 0 or step == total:
                    stage.state.save(out / "state")
        except KeyboardInterrupt:
            stage.state.save(out / "state")
            raise
    stage.generator_ema.update_means()
    model = out / "model"
    save_model(stage.generator_ema, model, card=card, discriminators={stage.judges: stage.discriminator})
    return model


def _same_settings(stage, path: Path) -> None:
    settings = json.dumps(
        {"stage": stage.name, "model": stage.generator.config.to_dict(), "training": to_dict(stage.config)}, indent=2
    )
    if path.exists() and json.loads(path.read_text()) != json.loads(settings):
        raise ValueError(f"{path.parent} holds a run with other settings; choose another --out, or the same settings")
    path.write_text(settings + "\n")


def _drop_lines_after(path: Path, step: int) -> None:
    """Forget what a killed run logged after its last saved state."""
    if path.exists():
        lines = [
            line for line in path.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= step
        ]
        path.write_text("".join(line + "\n" for line in lines))
