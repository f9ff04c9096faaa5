"""A conversation whose prompt every family renders."""

TURNS = (("What is the capital of France?", "Paris."), ("你好\n再见", "Answer two, with <s> no token."))
SYSTEM = "You answer briefly.\n只用一句话。"
