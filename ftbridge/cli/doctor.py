"""`ftbridge doctor`."""

import click

from ftbridge.cli.options import Command, json_option


@click.command("doctor", cls=Command, examples=("ftbridge doctor", "ftbridge doctor --json"))
@json_option
def command(as_json: bool) -> None:
    """Check Python, GPUs, CUDA, memory, disk, hubs and the training environment; exits with 4 if something fails."""
    from ftbridge.core.console import print_json, result
    from ftbridge.core.errors import SetupError
    from ftbridge.launchers.environment.checklist import checks_as_text
    from ftbridge.launchers.environment.doctor import run_checks, verdict

    done = []
    for check in run_checks():
        done.append(check)
        if not as_json:
            result(checks_as_text([check]), wrap=True)
    if as_json:
        print_json(done, indent=0)
    if any(check.status == "failure" for check in done):
        raise SetupError(verdict(done))
    if not as_json:
        result("\n" + verdict(done), wrap=True)
