"""Templates: the user's own stand in front, the sandbox holds, and what goes into a script stays one word."""

import subprocess

import pytest

from napos_lmp.errors import TemplateError
from napos_lmp.templates import Templates, comment_text, number, shell_quoted


def own(tmp_path, name: str, text: str) -> Templates:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Templates(tmp_path)


def test_every_shipped_template_is_listed_with_a_summary():
    found = {info.name: info for info in Templates().catalogue()}
    assert {"in.lammps.j2", "stages/melt.lmp.j2", "potentials/deepmd.lmp.j2", "jobs/slurm.sh.j2"} <= set(found)
    assert all(info.summary and not info.is_own for info in found.values())


def test_own_template_replaces_the_shipped_one_and_only_that_one(tmp_path):
    templates = own(tmp_path, "stages/melt.lmp.j2", "# mine {{ x }}\n")
    assert templates.find("stages/melt.lmp").is_own
    assert not templates.find("stages/quench.lmp.j2").is_own
    assert templates.render("stages/melt.lmp.j2", {"x": 3}) == "# mine 3\n"
    assert templates.digests(["stages/melt.lmp.j2"]) == {"stages/melt.lmp.j2": templates.digest("stages/melt.lmp.j2")}
    assert set(templates.digests(["stages/quench.lmp.j2"])) == {"stages/quench.lmp.j2", "stages/dynamics.lmp.j2"}
    assert templates.digest("stages/melt.lmp.j2") != Templates().digest("stages/melt.lmp.j2")


def test_copy_gives_a_file_that_is_found_again_and_is_not_overwritten(tmp_path):
    copied = Templates().copy("jobs/local.sh", tmp_path)
    assert copied == tmp_path / "jobs/local.sh.j2"
    assert Templates(tmp_path).find("jobs/local.sh.j2").path == copied
    with pytest.raises(TemplateError, match="exists already"):
        Templates().copy("jobs/local.sh", tmp_path)


def test_unknown_names_and_folders_are_refused(tmp_path):
    with pytest.raises(TemplateError, match=r"did you mean 'stages/quench.lmp.j2'"):
        Templates().find("stages/qench.lmp.j2")
    with pytest.raises(TemplateError, match="does not exist"):
        Templates(tmp_path / "absent")
    with pytest.raises(TemplateError, match=r"did you mean 'stages/melt.lmp.j2'"):
        own(tmp_path, "stages/mellt.lmp.j2", "")


def test_missing_value_names_template_and_line(tmp_path):
    templates = own(tmp_path, "stop.lammps.j2", "a\n{{ nothing }}\n")
    with pytest.raises(TemplateError, match=r"stop\.lammps\.j2, line 2: 'nothing' is undefined"):
        templates.render("stop.lammps.j2", {})


def test_broken_syntax_names_template_and_line(tmp_path):
    templates = own(tmp_path, "stop.lammps.j2", "a\nb\n{% if %}\n")
    with pytest.raises(TemplateError, match=r"stop\.lammps\.j2, line 3"):
        templates.render("stop.lammps.j2", {})


@pytest.mark.parametrize(
    "attack",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ x.__init__.__globals__ }}",
        "{{ self.__init__.__globals__ }}",
        "{% include '../../etc/passwd' %}",
        "{{ range(10**9) | list }}",
    ],
)
def test_the_sandbox_holds(tmp_path, attack):
    templates = own(tmp_path, "stop.lammps.j2", attack)
    with pytest.raises(TemplateError):
        templates.render("stop.lammps.j2", {"x": Templates()})


@pytest.mark.parametrize("word", ["plain", "two words", "a'b", '$(touch x) `id` "q" \\', "-n", "line\nbreak", "é;&|"])
def test_shell_filter_keeps_one_word(word):
    script = f"printf '%s' {shell_quoted(word)}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout == word


@pytest.mark.parametrize("value", [1.0, 0.001, 1e-7, 0.1 + 0.2, 123456.789, -3, 1e9])
def test_number_filter_is_exact_enough_and_plain(value):
    assert float(number(value)) == pytest.approx(value, rel=1e-11)
    assert " " not in number(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "x"])
def test_number_filter_refuses_what_is_no_number(value):
    with pytest.raises(ValueError, match=r"number|float"):
        number(value)


def test_comment_filter_leaves_one_harmless_line():
    assert comment_text('a\nshell rm &\x00 """b') == "a shell rm + '''b"
