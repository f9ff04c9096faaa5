"""The folders of runs: records, checkpoints, curves."""
