"""`ftbridge doctor`: each check with its remedy, and an exit code that tells."""

import json

import pytest
from click.testing import CliRunner

from ftbridge.cli import cli
from ftbridge.core.errors import SetupError
from ftbridge.launchers.environment.doctor import Check

GOOD, POOR = Check("Python", "ok", "3.11.7"), Check("GPU", "warning", "none found", "buy one")
BAD = Check("versions", "failure", "torch missing", "ftbridge setup")


@pytest.fixture
def doctor(monkeypatch):
    """Return a function that runs the command on what was found."""

    def run(checks, *arguments):
        monkeypatch.setattr("ftbridge.launchers.environment.doctor.run_checks", lambda: iter(checks))
        return CliRunner().invoke(cli, ["doctor", *arguments])

    return run


def test_doctor_prints_each_check_with_its_remedy_below(doctor):
    done = doctor([GOOD, POOR])
    assert done.exit_code == 0, done.output
    assert done.stdout == (
        "ok       Python: 3.11.7\nwarning  GPU: none found\n         -> buy one\n\nready: train on the CPU; 1 warning\n"
    )


def test_a_failure_ends_with_an_error_after_the_results(doctor):
    done = doctor([GOOD, BAD])
    assert isinstance(done.exception, SetupError)
    assert str(done.exception) == "not ready: fix the 1 failure above"
    assert "failure  versions: torch missing" in done.stdout


def test_checks_are_printed_as_they_are_done(monkeypatch):
    def found():
        yield GOOD
        raise SetupError("the next one did not end")

    monkeypatch.setattr("ftbridge.launchers.environment.doctor.run_checks", found)
    assert CliRunner().invoke(cli, ["doctor"]).stdout == "ok       Python: 3.11.7\n"


def test_doctor_with_json_prints_the_checks_as_values(doctor):
    found = json.loads(doctor([POOR, BAD], "--json").stdout)
    assert [each["status"] for each in found] == ["warning", "failure"]
    assert found[0]["remedy"] == "buy one"
