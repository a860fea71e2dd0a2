"""Counting many models: each named by an import path, analysed, and written as a run of its own."""
