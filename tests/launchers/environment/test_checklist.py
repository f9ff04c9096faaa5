"""The record of what was looked at, and how it is shown."""

from ftbridge.launchers.environment.checklist import Check, shown


def test_remedy_is_shown_below_its_check():
    checks = [Check("Python", "ok", "3.11.7"), Check("disk", "failure", "full", "make room")]
    assert shown(checks) == "ok       Python: 3.11.7\nfailure  disk: full\n         -> make room"
