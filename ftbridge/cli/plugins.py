"""`ftbridge plugins`: what is there, and which package each comes from."""

import click

from ftbridge.cli.options import Command, json_option
from ftbridge.cli.output import print_table
from ftbridge.language import gettext as _


@click.command(
    "plugins",
    cls=Command,
    short_help=_("List the installed plugins."),
    examples=("ftbridge plugins", "ftbridge plugins --json"),
)
@json_option
def command(as_json: bool) -> None:
    """List sources, targets, backends, presets and model families, with the package that each comes from."""
    from ftbridge.core.console import print_json
    from ftbridge.core.plugins import Plugin, installed_plugins
    from ftbridge.dataset_info.presets import presets
    from ftbridge.templates.families import load_families

    found = [plugin for kind in ("sources", "targets", "backends") for plugin in installed_plugins(kind)]
    own = next(plugin.package for plugin in found if plugin.package.startswith("ftbridge "))
    found += [Plugin("presets", preset.name, preset.package or own) for preset in presets().values()]
    found += [Plugin("families", family.name, family.package or own) for family in load_families().values()]
    if as_json:
        print_json(found, indent=0)
    else:
        print_table([(_("kind"), _("name"), _("package")), *((each.kind, each.name, each.package) for each in found)])
