"""The record of what was looked at, and how it is shown."""

from ftbridge.launchers.environment.checklist import Check, checks_as_text


def test_remedy_is_shown_below_its_check():
    checks = [Check("Python", "ok", "3.11.7"), Check("disk", "failure", "full", "make room")]
    assert checks_as_text(checks) == "ok       Python: 3.11.7\nfailure  disk: full\n         -> make room"
