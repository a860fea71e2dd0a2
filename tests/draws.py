"""How often a fault is caused at moments that are drawn: `make test-faults DRAWS=4`, likewise `make test-containers`.

Once by default, as each takes minutes.
"""

import os
from typing import Final

DRAWS: Final = int(os.environ.get("DRAWS", "1"))
