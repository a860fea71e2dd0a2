"""The run of a training that goes on: RUNNING in MLflow, with its curves so far."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from numpy.typing import NDArray

from paramshare.errors import in_a_line
from paramshare.recipes.spec import Spec
from paramshare.sweep.chunks import Chunk
from paramshare.tracking.store import Store
from paramshare.tracking.write.kinds.seeds import begin_run, continue_run
from paramshare.tracking.write.record import Begun
from paramshare.tracking.write.spool import call_guarded

__all__ = ["LiveRuns"]

_log: Final = logging.getLogger(__name__)


class LiveRuns:
    """The runs of a chunk that MLflow shows while their trainings go on.

    Args:
        chunk: the chunk.
        tags: the tags of its runs.
        store: returns the store of the chunk.
    """

    def __init__(self, chunk: Chunk, tags: Mapping[str, str], store: Callable[[], Store]) -> None:
        self._chunk, self._tags, self._store = chunk, tags, store
        self._begun: dict[str, Begun] = {}

    def show(self, spec: Spec, started: float, curves: Mapping[str, NDArray[Any]]) -> None:
        """Write the curves of a training so far. An error of the store is logged and ends no training.

        Args:
            started: the start of the training, in seconds since 1970.
            curves: the values of every step so far by metric.
        """
        key, begun = spec.key(), self.begun(spec)

        def write() -> Begun:
            if begun is None:
                return begin_run(self._store(), spec, self._tags, started, curves)
            return continue_run(self._store(), begun, started, curves)

        try:
            self._begun[key] = call_guarded(self._chunk.address, write)
        except Exception as error:
            _log.warning("MLflow does not show the training of %s yet: %s", key, in_a_line(error))

    def begun(self, spec: Spec) -> Begun | None:
        """Return the run of a training that MLflow shows; None if it shows none."""
        return self._begun.get(spec.key())
