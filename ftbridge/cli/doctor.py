"""`ftbridge doctor`."""

import click


@click.command("doctor")
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def command(as_json: bool) -> None:
    """Check Python, GPUs, the training environment and the disk; ends with 4 where something fails."""
    import msgspec

    from ftbridge.core.console import result
    from ftbridge.core.errors import SetupError
    from ftbridge.launchers.checks import shown
    from ftbridge.launchers.doctor import doctor

    checks = doctor()
    if as_json:
        result(msgspec.json.encode(checks).decode())
    else:
        result(shown(checks))
    if any(check.status == "failure" for check in checks):
        raise SetupError("this machine cannot train yet; the remedies stand above")
