"""The functions that a notebook uses."""

import subprocess
import sys

import pytest

import ftbridge


def test_every_name_resolves():
    for name in ftbridge.__all__:
        assert getattr(ftbridge, name)
    assert set(ftbridge.__all__) <= set(dir(ftbridge))


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = ftbridge.nothing_like_it


def test_import_is_light():
    code = (
        "import ftbridge, sys; print([name for name in ('click', 'msgspec', 'yaml', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
