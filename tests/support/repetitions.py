"""The number of repetitions of slow tests: moments of a fault, published nets. `make test-all` repeats them more often.

Once by default, as each fault takes minutes; `make test-faults DRAWS=4`, likewise the other targets.
"""

import os
from typing import Final

DRAWS: Final = int(os.environ.get("DRAWS", "1"))
