"""Datasets that stand in dataset_info.json, whoever wrote them."""
