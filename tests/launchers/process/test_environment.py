"""What children inherit, and what is this process's own."""

import pytest

from ftbridge.launchers.process.environment import OF_KERNEL, OWN, inherited_variables


@pytest.fixture(autouse=True)
def variables(monkeypatch):
    """Set all that is dropped, and some of what is passed on."""
    for name in (*OWN, *OF_KERNEL, "HF_ENDPOINT", "HTTPS_PROXY", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.setenv(name, "given")


def test_a_notebooks_kernel_keeps_its_own_to_itself():
    inherited = inherited_variables()
    assert not inherited.keys() & {*OWN, *OF_KERNEL}
    assert inherited.items() >= {"HF_ENDPOINT": "given", "HTTPS_PROXY": "given"}.items()


def test_elsewhere_the_users_pythonpath_is_passed_on(monkeypatch):
    monkeypatch.delenv("JPY_PARENT_PID")
    inherited = inherited_variables()
    assert inherited["PYTHONPATH"] == inherited["CUDA_VISIBLE_DEVICES"] == "given"
    assert not inherited.keys() & OWN
