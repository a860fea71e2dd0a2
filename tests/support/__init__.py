"""Helpers of several test modules: programs and servers that are started, checks of results, models to count.

A module here has no tests. What one test module alone uses stays in that module, and fixtures in `conftest.py`.
"""

from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
"""The checkout."""
