"""How much is drawn of what would take long: a fault's moments, published nets. `make test-all` draws more of all.

Once by default, as each fault takes minutes; `make test-faults DRAWS=4`, likewise the other targets.
"""

import os
from typing import Final

DRAWS: Final = int(os.environ.get("DRAWS", "1"))
