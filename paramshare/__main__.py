"""The command line as `python -m paramshare`."""

import sys

from paramshare.cli import main

if __name__ == "__main__":
    sys.exit(main())
