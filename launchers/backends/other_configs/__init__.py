"""Configs that were written for LLaMA-Factory or XTuner themselves, as options of a training."""
