"""Baselines beside a model that need no GPU: the most frequent class, TF-IDF with logistic regression, an encoder."""
