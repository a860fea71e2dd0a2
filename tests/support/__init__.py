"""What several tests use: programs and servers that are started, checks of what they leave, models that are counted.

A module here has no tests. What one test module alone uses stays in that module, and fixtures in `conftest.py`.
"""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The checkout."""
