"""What answers: a model in a process of ours, by transformers or vLLM, or a server."""
