"""Label maps: a YAML or JSON file of `value: text` lines, or a list of texts for 0, 1, 2 ..."""

from pathlib import Path

from ftbridge.core.errors import InputError
from ftbridge.core.files.atomic import read_text
from ftbridge.core.parsing.json_yaml import yaml_reason
from ftbridge.language import gettext as _


def load_label_map(path: Path) -> dict[str, str]:
    """Return the text of each label, both as the file has them; raises InputError where it is no label map."""
    import yaml

    content = read_text(path, _("label map"))
    try:
        # The nodes keep what was written: `no` and `07` are no boolean and no number.
        node = yaml.compose(content, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(
            _("the label map `{path}` is not valid YAML: {yaml_reason}").format(
                path=path, yaml_reason=yaml_reason(error, content)
            )
        ) from error
    pairs = node.value if isinstance(node, yaml.MappingNode) else []
    if isinstance(node, yaml.SequenceNode):
        pairs = [(yaml.ScalarNode("", str(number)), label) for number, label in enumerate(node.value)]
    labels: dict[str, str] = {}
    for key, label in pairs:
        where = _("the label map `{path}`, line {line}:").format(path=path, line=label.start_mark.line + 1)
        if not isinstance(key, yaml.ScalarNode) or not isinstance(label, yaml.ScalarNode) or not label.value.strip():
            raise InputError(_("{where} one text for each label, as in `7: Electricity`").format(where=where))
        if key.value in labels:
            raise InputError(_("{where} a second text for the label `{value}`").format(where=where, value=key.value))
        labels[key.value] = label.value
    if not labels:
        raise InputError(
            _("the label map `{path}` holds no labels; write a line for each, as in `7: Electricity`").format(path=path)
        )
    return labels
