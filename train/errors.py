"""What ends a run and can be said in a sentence."""

from __future__ import annotations


class RunError(RuntimeError):
    """A run or a command ended for a reason that its user can act on; the command line shows the message alone.

    Any other ``RuntimeError``, as torch's about shapes and memory, keeps its traceback.
    """
