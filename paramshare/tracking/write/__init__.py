"""Write the runs of a store, and keep it consistent: spool, owners, orphans, deduplication."""
