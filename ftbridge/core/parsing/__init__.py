"""Files from the outside into checked values: JSON, YAML, the headers of safetensors."""
