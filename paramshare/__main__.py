"""The command line as the program `paramshare` and as `python -m paramshare`.

Ctrl-C ends the process at once, by the signal's own effect, while Python imports and while it leaves: there is nothing
to end then, and an exception would be a traceback of whatever module was met. Between them `cli.main` handles it.

Python's own start, the first 20 ms, is out of reach: no code of a package runs before it.
"""

import signal
import sys

__all__ = ["main"]


def main() -> int:
    """Run this process's command and return its exit code."""
    handled = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, as in a script's job
    if handled:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from paramshare.cli import main as run

    try:
        if handled:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return run()
    except KeyboardInterrupt:  # before `cli.main` handles it, or after
        return 128 + signal.SIGINT
    finally:
        if handled:
            signal.signal(signal.SIGINT, signal.SIG_DFL)


if __name__ == "__main__":
    sys.exit(main())
