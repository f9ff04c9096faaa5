"""The child that generates, and how it fails."""

import pytest

from ftbridge.core.errors import FrameworkError
from ftbridge.dialogue.generation import Generator
from ftbridge.weights.sources import card_of, resolve


@pytest.mark.framework
def test_a_model_that_cannot_be_loaded_is_told_with_its_messages(trained, in_project, training_python, tmp_path):
    card = card_of(resolve(trained(backend="xtuner").id))
    (tmp_path / "config.json").write_text("{}")
    generator = Generator(training_python, card, tmp_path, None, "cpu")
    with pytest.raises(FrameworkError, match="could not be loaded"), generator:
        pass
