"""What a report tells of runs, and of evaluations of their models."""
