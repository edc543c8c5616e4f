"""What the command lines share: values that begin with a dash, and being told to stop."""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator


def error_line(message: str) -> str:
    """Return an error of a command as the one line that standard error gets."""
    return f"stylesdf: error: {' '.join(message.split())}\n"


class Parser(argparse.ArgumentParser):
    """A parser whose only option with a single dash is ``-h``: -1e-05, -inf and -head.glb are values."""

    def _parse_optional(self, arg_string):
        is_value = arg_string.startswith("-") and not arg_string.startswith("--") and arg_string != "-h"
        return None if is_value else super()._parse_optional(arg_string)


class Interruption(KeyboardInterrupt):
    """A signal that asks to stop has come; what is half written goes, as at Ctrl-C.

    Attributes:
        status: Exit status of the shell's convention, 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


@contextlib.contextmanager
def terminal() -> Iterator[None]:
    """Run a command: SIGTERM and SIGHUP raise ``Interruption``, where they would end the process on the spot.

    Names that the terminal cannot show are written as escapes. Output that cannot be written is an OSError, here
    rather than when the process ends.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    previous = {}
    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)  # not every system has both
        if number is not None and signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            with contextlib.suppress(ValueError):  # not in the main thread, where signals cannot be had
                previous[number] = signal.signal(number, _interrupt)
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        _give_up_output(error)
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _interrupt(number: int, _frame) -> None:
    raise Interruption(number)


def _give_up_output(error: OSError) -> None:
    """Where it was the output that could not be written, name it, and let the rest go nowhere."""
    try:
        sys.stdout.flush()
    except OSError:
        error.filename = "standard output"
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else it fails once more when Python ends
