"""`ftbridge help`."""

from click.testing import CliRunner

from ftbridge.cli import cli


def test_help_of_a_command_is_that_of_its_option():
    runner = CliRunner()
    for words in ([], ["train"], ["runs", "list"]):
        asked = runner.invoke(cli, ["help", *words], prog_name="ftbridge")
        assert asked.exit_code == 0
        assert asked.output == runner.invoke(cli, [*words, "--help"], prog_name="ftbridge").output
    wrong = runner.invoke(cli, ["help", "trian"])
    assert wrong.exit_code == 2
    assert "did you mean `train`?" in wrong.output
