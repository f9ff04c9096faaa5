"""A preset as a source, `preset:NAME`: rows that ftbridge makes itself, or those of the hub that has the dataset."""

import re
from collections.abc import Mapping

from ftbridge.core.errors import UsageError
from ftbridge.core.parsing.json_yaml import closest
from ftbridge.core.records import FIRST, Reading, Row, Rows, Table, Where
from ftbridge.dataset_info import self_cognition
from ftbridge.dataset_info.presets import Preset, load_preset
from ftbridge.language import gettext as _


def open_preset(name: str, settings: Mapping[str, str], reading: Reading) -> list[Table]:
    """Open the preset `name` with what `--set` said.

    Raises UsageError for an unknown preset or setting, a setting that is no use, and a preset whose rows have to be
    got by hand.
    """
    chosen = load_preset(name)
    for key in settings:
        if key not in chosen.settings:
            known = closest(key, chosen.settings) if chosen.settings else _("; leave `--set` out")
            raise UsageError(
                _("the preset `{name}` has no setting `{key}`{known}").format(name=name, key=key, known=known)
            )
    if not chosen.settings:
        return _open_from_hub(chosen, reading)
    made = self_cognition.rows(
        settings.get("name", ""),
        settings.get("author", ""),
        _parse_count(settings.get("count")),
        settings.get("languages", ",".join(self_cognition.LANGUAGES)).replace(" ", "").split(","),
    )
    file = f"preset:{name}"
    rows = [Row(Where(file, number, unit="row"), dict(row)) for number, row in enumerate(made, 1)]
    return [Table(file=file, columns=tuple(rows[0].values), pieces=[Rows(iter(rows))], first=tuple(rows[:FIRST]))]


def _open_from_hub(chosen: Preset, reading: Reading) -> list[Table]:
    if not chosen.hub:
        raise UsageError(
            _(
                "the preset `{name}` cannot be fetched; get its file from {source} and give it: "
                "`ftbridge convert FILE --preset {name}`"
            ).format(name=chosen.name, source=chosen.source)
        )
    from ftbridge.adapters.sources.repository.hub import open_url

    return open_url(chosen.hub, reading)


def _parse_count(text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch("[0-9]{1,9}", text):
        raise UsageError(
            _("`--set count=…` takes a whole number, as in `--set count=100`; got `{text}`").format(text=text)
        )
    return int(text)
