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
MIN_FPS, MAX_FPS = 0.1, 100.0
SHORTEST_IN_GIF = 2  # hundredths of a second; browsers show a frame of fewer for ten


def write_video(frames: Iterable[Image.Image], path: str | os.PathLike, fps: float = 30.0) -> None:
    """Write frames as a film that loops where its format can; the file appears only once it is complete.

    Args:
        frames: Pictures of one size.
        path: Ends in .mp4 (H.264), .gif or .webp (both loop forever).
        fps: Frames per second, from 0.1 to 100. A GIF counts in hundredths of a second and shows no frame for less
            than two of them: above 50 it is slower.

    Raises:
        ValueError: Another ending, no frame, or frames per second out of range.
    """
    path = check_ending(path, VIDEO_ENDINGS)
    fps = check_number("fps", fps)
    if not MIN_FPS <= fps <= MAX_FPS:
        raise ValueError(f"fps is {fps!r}, expected frames per second from {MIN_FPS:g} to {MAX_FPS:g}")
    ending = path.suffix.lower()
    frames = _timed(frames, fps) if ending == ".gif" else iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError("there are no frames to write")
    with replacing(path) as temporary:
        if ending == ".mp4":
            _encode_mp4(first, frames, temporary, fps)
        elif ending == ".webp":
            options = {"duration": round(1000.0 / fps), "quality": 90, "method": 4}
            first.save(temporary, save_all=True, append_images=frames, loop=0, **options)
        else:
            first.save(temporary, save_all=True, append_images=frames, loop=0)


def _timed(frames: Iterable[Image.Image], fps: float) -> Iterator[Image.Image]:
    """Say how long each frame is to be seen: in whole hundredths of a second, which add up to the right time."""
    for number, frame in enumerate(frames):
        frame = frame.copy()
        hundredths = round(100.0 * (number + 1) / fps) - round(100.0 * number / fps)
        frame.info["duration"] = 10 * max(hundredths, SHORTEST_IN_GIF)
        yield frame


def _encode_mp4(first: Image.Image, others: Iterator[Image.Image], path: Path, fps: float) -> None:
    """Write an MP4 with ffmpeg, and raise OSError with what it says where it does not come to its end."""
    from imageio_ffmpeg import get_ffmpeg_exe

    width, height = (side + side % 2 for side in first.size)  # yuv420p, which every player reads, needs even sides
    source = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "{}x{}".format(*first.size), "-r", str(fps), "-i", "-"]
    target = ["-vf", f"scale={width}:{height}", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "10"]
    command = [get_ffmpeg_exe(), "-loglevel", "error", "-y", *source, *target, f"file:{path}"]
    # in a session of its own, for Ctrl-C is to reach it through us alone
    ffmpeg = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    try:
        for frame in itertools.chain([first], others):
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
