"""The look of runs on MLflow's pages: colours, addresses, tables, saved views. Pure functions."""
