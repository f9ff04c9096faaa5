"""Answers to a dataset: what is asked, who answers, the folder that keeps it, what was trained on."""
