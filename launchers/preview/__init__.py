"""What a training would see of a dataset, and how long its samples are."""
