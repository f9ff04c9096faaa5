"""What stands beside a model's weights: config, tokenizer, chat template."""
