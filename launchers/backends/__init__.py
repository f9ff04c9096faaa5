"""The frameworks that train, and the plan that they render."""
