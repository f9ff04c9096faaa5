"""How good answers are: figures with intervals, and two models on the same questions."""
