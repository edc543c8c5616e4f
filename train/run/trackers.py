"""What a run tells its tracker: its settings once, numbers and sample grids at their steps, and no step twice.

A run that goes on from an earlier step than it had come to takes some steps again. TensorBoard then drops what it had
of them (``purge_step``). Other trackers cannot: they are sent later steps only. ``tracker.json`` in the run's folder
keeps the last step that was sent, and by what a tracker knows the run.
"""

from __future__ import annotations

import json
import secrets
from pathlib import Path

import numpy as np
from accelerate import Accelerator
from PIL import Image

from stylesdf.files import replacing
from train.run.background import one_line
from train.run.settings import flattened

PROJECT = "stylesdf"
TRACKER_FILE = "tracker.json"
LARGEST_PICTURE = 2048  # pixels of the longer side; larger ones are reduced, the run's own grids are not
PLAIN = (int, float, str)
NOT_SENT = ("saved_as", "built_as", "card")  # of the settings: how states and cards are written


class Tracker:
    """The tracker that an accelerator was made for, in the main process; without one, nothing happens.

    Args:
        accelerator: Of the run, with ``log_with``.
        out: Folder of the run; its name is the run's.
    """

    def __init__(self, accelerator: Accelerator, out: Path) -> None:
        self.accelerator, self.out = accelerator, out
        self.name = str(accelerator.log_with[0]) if accelerator.log_with else ""
        self._known: dict[str, object] = {}  # what tracker.json says of this tracker
        self._sent_until = -1  # what is not sent again

    def start(self, settings: dict, step: int) -> None:
        """Begin, or go on, and send the settings to a tracker that does not know the run yet.

        Args:
            settings: As ``settings.json`` has them.
            step: That the run goes on from; 0 at its beginning.

        Raises:
            ValueError: The tracker does not start.
        """
        if not self.name or not self.accelerator.is_main_process:
            return
        self._known = self._read().get(self.name, {})
        values = flattened({name: value for name, value in settings.items() if name not in NOT_SENT})
        values = {name: value if isinstance(value, PLAIN) else json.dumps(value) for name, value in values.items()}
        run = self._known.get("run") or self._new_run()
        self.accelerator.project_configuration.logging_dir = str(self.out)
        try:
            project = self.name if self.name == "tensorboard" else PROJECT  # for TensorBoard, a folder of the run
            options = self._options(run, step) | ({"config": values} if self.name == "trackio" else {})
            self.accelerator.init_trackers(project, init_kwargs={self.name: options})
            if not self._known and self.name != "trackio":  # which keeps those of a run that it is started with
                self._send_settings(values)
        except Exception as error:  # each tracker has its own
            raise ValueError(f"the tracker {self.name} does not start: {one_line(error)}") from error
        last = self._known.get("step", -1)
        self._sent_until = -1 if self.name == "tensorboard" else last
        self._keep({"run": run, "step": last})

    @property
    def is_on(self) -> bool:
        """Whether there is a tracker, and it has begun."""
        return bool(self.accelerator.trackers)

    def log(self, values: dict[str, float], step: int) -> None:
        """Send numbers of a step."""
        if self._is_new(step):
            self.accelerator.log(values, step=step)

    def log_picture(self, name: str, picture: Image.Image, step: int) -> None:
        """Send a picture as it was drawn after a step."""
        if not self._is_new(step):
            return
        picture = picture.reduce(max(1, -(-max(picture.size) // LARGEST_PICTURE)))
        (tracker,) = self.accelerator.trackers
        if self.name == "tensorboard":
            tracker.log_images({name: np.asarray(picture)[None]}, step=step, dataformats="NHWC")
            tracker.tracker.flush()
        elif self.name == "trackio":  # accelerate has no pictures for it
            import trackio

            tracker.log({name: trackio.Image(picture)}, step=step)
        else:
            tracker.log_images({name: [picture]}, step=step)

    def close(self) -> None:
        """Let the tracker write what it holds, and go."""
        while self.accelerator.trackers:
            self.accelerator.trackers.pop().finish()

    def _new_run(self) -> str:
        """Return what a tracker is to know the run by: other folders of the same name are other runs."""
        digits = secrets.token_hex(4)
        return f"{self.out.resolve().name}-{digits}" if self.name == "trackio" else digits

    def _options(self, run: str, step: int) -> dict:
        """Return what the tracker is started with."""
        if self.name == "tensorboard":
            return {"purge_step": step + 1}
        if self.name == "trackio":  # which knows runs by their names alone
            return {"name": run, "resume": "allow"}
        return {"name": self.out.resolve().name, "id": run, "resume": "allow", "dir": str(self.out)}

    def _send_settings(self, values: dict[str, int | float | str]) -> None:
        (tracker,) = self.accelerator.trackers
        if self.name != "tensorboard":
            tracker.store_init_configuration(values)
            return
        from torch.utils.tensorboard.summary import hparams

        for summary in hparams(values, {}):  # accelerate would write them beside the run, as another one
            tracker.tracker.file_writer.add_summary(summary)
        tracker.tracker.flush()

    def _is_new(self, step: int) -> bool:
        """Whether a step is to be sent; that it was is kept before, so that a kill makes no second time."""
        if not self.is_on or step <= self._sent_until:
            return False
        if step > self._known["step"]:
            self._keep(self._known | {"step": step})
        return True

    def _read(self) -> dict:
        try:
            values = json.loads((self.out / TRACKER_FILE).read_text(encoding="utf-8"))
        except (FileNotFoundError, ValueError):
            return {}
        return values if isinstance(values, dict) else {}

    def _keep(self, known: dict[str, object]) -> None:
        self._known = known
        with replacing(self.out / TRACKER_FILE) as path:
            path.write_text(json.dumps(self._read() | {self.name: known}) + "\n", encoding="utf-8")
