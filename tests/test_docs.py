"""What the README and the help say is true."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tbperf.cli import COMMANDS, cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
CONSOLE = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
COMMAND_LINES = [line[2:] for block in CONSOLE for line in block.splitlines() if line.startswith("$ ")]
TBPERF_LINES = [line for line in COMMAND_LINES if line.startswith("tbperf ")]


@pytest.mark.parametrize("line", TBPERF_LINES)
def test_every_command_of_the_readme_exists_with_its_options(line):
    """Parsed by the real command line, but not run."""
    _, name, *arguments = shlex.split(line)
    if name == "--help":
        return
    assert name in COMMANDS
    command = cli.get_command(click.Context(cli), name)

    command.make_context(name, arguments)


@pytest.mark.parametrize("line", [line for line in COMMAND_LINES if line.startswith("scripts/")])
def test_every_script_of_the_readme_is_there(line):
    path = ROOT / shlex.split(line)[0]

    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)


def test_the_output_in_the_readme_is_what_the_command_prints():
    (block,) = [block for block in CONSOLE if "sample_traces" in block]
    line, expected = block.split("\n", 1)
    _, *arguments = shlex.split(line[2:])

    done = subprocess.run(
        [sys.executable, "-m", "tbperf", *arguments], capture_output=True, text=True, cwd=ROOT, check=True
    )

    assert done.stdout == expected


def test_the_python_of_the_readme_runs(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)

    exec(compile(code, "README.md", "exec"), {})

    assert "A training step takes" in capsys.readouterr().out


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#]+)\)", README))
def test_every_link_of_the_readme_leads_somewhere(link):
    assert link.startswith("http") or (ROOT / link).exists()


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name):
    result = CliRunner().invoke(cli, [name, "--help"])

    assert result.exit_code == 0
    assert "Usage:" in result.output
    command = cli.get_command(click.Context(cli), name)
    assert command.get_short_help_str()
    for parameter in command.params:
        assert not isinstance(parameter, click.Option) or parameter.help, parameter.name


def test_help_lists_every_command():
    output = CliRunner().invoke(cli, ["--help"]).output

    assert all(f"\n  {name} " in output for name in COMMANDS)


def test_idle_causes_are_all_explained():
    from tbperf.analyses.idle import CAUSES
    from tbperf.findings.words import CAUSES as WORDS

    page = (ROOT / "docs" / "report.md").read_text()

    assert set(CAUSES) == set(WORDS)
    for cause in CAUSES:
        assert f"`{cause}`" in page or f"**{cause}**" in page, cause


def test_every_figure_that_a_gate_may_name_is_in_the_docs():
    from tbperf.analyses.idle import CAUSES
    from tbperf.gates import METRICS

    page = (ROOT / "docs" / "ci.md").read_text()

    assert set(METRICS) > set(CAUSES)
    for name in set(METRICS) - set(CAUSES):
        assert f"`{name}`" in page, name


def test_every_gate_in_the_docs_is_one():
    from tbperf.gates import parse_gates

    pages = [README, *(path.read_text() for path in (ROOT / "docs").iterdir() if path.suffix in (".md", ".yml"))]
    gates = [a or b for page in pages for a, b in re.findall(r"--fail-on (?:'([^']+)'|([\w=]+))", page)]

    assert len(parse_gates(gates, compared=True)) > 8


def test_every_command_of_the_pages_about_comparing_exists_with_its_options():
    for page in ("compare.md", "ci.md"):
        blocks = re.findall(r"```console\n(.*?)```", (ROOT / "docs" / page).read_text(), re.DOTALL)
        lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ tbperf")]
        assert lines
        for line in lines:
            _, name, *arguments = shlex.split(line)
            cli.get_command(click.Context(cli), name).make_context(name, arguments)
