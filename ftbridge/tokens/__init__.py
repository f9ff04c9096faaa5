"""Ready tokens: what a model trains on, made once by its own chat template for every framework."""
