"""Pictures in time: frames to a film."""

from __future__ import annotations

import errno
import itertools
import os
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

from PIL import Image

from stylesdf.arguments import check_number
from stylesdf.files import check_ending, replacing

VIDEO_ENDINGS = (".mp4", ".gif", ".webp")


def write_video(frames: Iterable[Image.Image], path: str | os.PathLike, fps: float = 30.0) -> None:
    """Write frames as a film that loops where its format can; the file appears only once it is complete.

    Args:
        frames: Pictures of one size.
        path: Ends in .mp4 (H.264), .gif or .webp (both loop forever).
        fps: Frames per second, above 0 and at most 100.

    Raises:
        ValueError: Another ending, no frame, or frames per second out of range.
    """
    path = check_ending(path, VIDEO_ENDINGS)
    fps = check_number("fps", fps)
    if not 0.0 < fps <= 100.0:
        raise ValueError(f"fps is {fps!r}, expected frames per second above 0 and at most 100")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("there are no frames to write")
    with replacing(path) as temporary:
        if path.suffix.lower() == ".mp4":
            _encode_mp4(itertools.chain([first], frames), temporary, fps)
        else:
            options = {"quality": 90, "method": 4} if path.suffix.lower() == ".webp" else {}
            duration = round(1000.0 / fps)
            first.save(temporary, save_all=True, append_images=frames, duration=duration, loop=0, **options)


def _encode_mp4(frames: Iterator[Image.Image], path: Path, fps: float) -> None:
    """Write an MP4 with ffmpeg, and raise OSError with what it says where it does not come to its end."""
    from imageio_ffmpeg import get_ffmpeg_exe

    first = next(frames)
    width, height = (side + side % 2 for side in first.size)  # yuv420p, which every player reads, needs even sides
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*first.size), "-r", str(fps), "-i", "-"]
    target = ["-vf", f"scale={width}:{height}", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "10"]
    command = [get_ffmpeg_exe(), "-loglevel", "error", "-y", *source, *target, f"file:{path}"]
    # in a session of its own, for Ctrl-C is to reach it through us alone
    ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        for frame in itertools.chain([first], frames):
            if frame.size != first.size:
                raise ValueError(f"a frame has size {frame.size}, expected that of the first, {first.size}")
            try:
                ffmpeg.stdin.write(frame.convert("RGB").tobytes())
            except OSError:  # it has ended, and says why
                break
        _, said = ffmpeg.communicate()
    except BaseException:
        ffmpeg.kill()
        ffmpeg.communicate()
        raise
    if ffmpeg.returncode:
        last = said.decode(errors="replace").strip().rpartition("\n")[2]
        reason = re.sub(r"^\[[^]]*\] ", "", last) or f"status {ffmpeg.returncode}"
        raise OSError(errno.EIO, f"ffmpeg stopped with: {reason}")
