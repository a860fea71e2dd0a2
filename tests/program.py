"""The command line as a process of its own, and sizes that train in milliseconds."""

import sys

PROGRAM = [sys.executable, "-c", "import sys; from paramshare.cli import main; sys.exit(main())"]
SIZES = {"batch_size": 4, "input_size": 8, "hidden_size": 6, "output_size": 3, "steps": 20}
SMALL = ["--devices", "cpu", *(f"--{name.replace('_', '-')}={size}" for name, size in SIZES.items())]
