"""What serves the repository alone: each module is run as `python -m tools.NAME` from the top folder."""
