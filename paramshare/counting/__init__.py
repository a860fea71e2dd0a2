"""Count many models: load each by its import path, analyse it, and write its report as a run."""
