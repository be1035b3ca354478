import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.common import ROOT
from scripts.text_generation.data_files import DATA, DataFileError
from scripts.text_generation.inflection_tr import read_endings
from scripts.text_generation.templates import (
    SLOT,
    Domain,
    Slot,
    Tense,
    check_template,
    parse_slot,
    read_text_data,
    text_data,
)

FILES = sorted(path.relative_to(DATA).as_posix() for path in DATA.rglob("*.*") if path.name != "README.md")
"""All data files, lists and tables."""


def broken(folder: Path, file: str, line: str) -> Path:
    """A copy of the data files with an additional line at the end of `file`."""
    shutil.copytree(DATA, folder, dirs_exist_ok=True)
    with (folder / file).open("a", encoding="utf-8") as lines:
        lines.write(f"{line}\n")
    return folder / file


def test_tenses_and_domains() -> None:
    data = text_data()
    assert data.tenses["past"] == Tense(28, asked=True, when="when_past")
    assert not data.tenses["would"].asked
    assert list(data.domains)[:2] == ["general", "maths"]
    assert data.domains["commands"].weight == 3
    assert "ışığı aç" in data.domains["commands"].templates


def test_data_files_are_read_once_and_not_at_import() -> None:
    assert text_data() is text_data()
    code = (
        "import scripts.tools.sentences as s; print(s.text_data.cache_info().currsize, s.endings.cache_info().currsize)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert result.stdout == "0 0\n"


@pytest.mark.parametrize("file", FILES)
def test_every_file_is_read_and_a_malformed_line_is_reported_with_file_and_line(file: str, tmp_path: Path) -> None:
    path = broken(tmp_path, file, "{?")
    last = path.read_text(encoding="utf-8").count("\n")
    with pytest.raises(DataFileError) as caught:
        if file.startswith("inflection/"):
            read_endings(tmp_path / "inflection")
        else:
            read_text_data(tmp_path)
    assert str(caught.value).startswith(f"{path}:{last}: ")
    assert "\n" not in str(caught.value)


def test_every_pool_is_drawn_from() -> None:
    """By a template, or as a part of a combined pool."""
    data = text_data()
    slots = [parse_slot(slot) for domain in data.domains.values() for slot in SLOT.findall("".join(domain.templates))]
    lexicon = data.lexicon
    pools = {*lexicon.nouns, *lexicon.names, *lexicon.verbs, *lexicon.adjectives, *lexicon.uninflected}
    times = {tense.when for tense in data.tenses.values()}
    assert pools - {slot.pool for slot in slots} - times == {"attributive"}


def test_slots() -> None:
    assert parse_slot("person") == Slot("person", ())
    assert parse_slot("vgo.dik.3s.acc") == Slot("vgo", ("dik", "3s", "acc"))
    assert parse_slot("num:20000-4000000.dat") == Slot("num", ("dat",), (20_000, 4_000_000))


@pytest.mark.parametrize(
    "template",
    [
        "[subj] {[when] |}{bir|bu|{şu|o}} [adj] [thing.R.pl.acc] [vacc.neg.T.P]?",
        "[place.DAki] [name.gen] [vgo.acak.P.C], [vacc.ip] [valone.iken] [vacc.q], [ord:1-20.loc]'te: %5!",
        "{evet|hayır}",
    ],
)
def test_well_formed_templates(template: str) -> None:
    check_template(template, text_data().lexicon)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ("{evet|hayır", "'{' is outside of a choice, or unpaired"),
        ("evet}", "'}' is outside of a choice, or unpaired"),
        ("evet|hayır", "'|' is outside of a choice, or unpaired"),
        ("[thing", "'[' is not allowed here in a template"),
        ("thing]", "']' is not allowed here in a template"),
        ("[]", "'[' is not allowed here in a template"),
        ("taxi", "'x' is not allowed here in a template"),
        ("[subj] {evet|}", "the sentence can be empty"),
        ("[thng.acc]", "[thng.acc] uses the pool 'thng', which does not exist"),
        ("[thing.akk]", "[thing.akk] has steps that 'thing' does not take: akk"),
        ("[thing:1-2]", "[thing:1-2] takes no limits"),
        ("[num.acc]", "[num.acc] needs limits, like 2-90"),
        ("[num:9-2]", "[num:9-2] has the limits '9-2', but limits are like 2-90"),
        ("[num:2]", "[num:2] has the limits '2', but limits are like 2-90"),
        ("[num:1-9000000000000]", "and at most 1000000000000"),
        ("[clock:1-2]", "[clock:1-2] takes no limits"),
        ("[year.T]", "[year.T] has steps that 'year' does not take: T"),
        ("[adj.acc]", "[adj.acc] has steps that 'adj' does not take: acc"),
        ("[adv.acc]", "[adv.acc] has steps that 'adv' does not take: acc"),
        ("[when.acc] gel", "[when.acc] has steps that 'when' does not take: acc"),
        ("[vacc]", "[vacc] has steps that 'vacc' does not take: none"),
        ("[vacc.neg]", "[vacc.neg] has steps that 'vacc' does not take: neg"),
        ("[vacc.passt.P]", "does not take: passt.P"),
        ("[vacc.T.4s]", "does not take: T.4s"),
        ("[vacc.T.P.acc]", "does not take: T.P.acc"),
        ("[vacc.neg.ip]", "does not take: neg.ip"),
        ("[vacc.ip.P]", "does not take: ip.P"),
        ("[vacc.dik.acc]", "does not take: dik.acc"),
        ("[vacc.dik.P.lok]", "does not take: dik.P.lok"),
        ("[vacc.{ip|inca}]", "does not take: {ip|inca}"),
    ],
)
def test_malformed_templates_are_refused(template: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        check_template(template, text_data().lexicon)


@pytest.mark.parametrize(
    ("file", "row", "problem"),
    [
        ("tenses.csv", "pluperfect,3,no,when_past", "'pluperfect' is not one of the tenses present, past, "),
        ("tenses.csv", "conditional,3,no,when_never", "there is no list uninflected/when_never.txt"),
        ("tenses.csv", "conditional,some,no,when_now", "weight must be a whole number above zero, not 'some'"),
        ("tenses.csv", "conditional,3,,when_now", "question must be yes or no, not ''"),
        ("domains.csv", "general,3", "'general' is already in line 3"),
        ("domains.csv", "sports", "the row has 1 fields, not 2"),
    ],
)
def test_malformed_rows_are_refused(file: str, row: str, problem: str, tmp_path: Path) -> None:
    path = broken(tmp_path, file, row)
    last = path.read_text(encoding="utf-8").count("\n")
    with pytest.raises(DataFileError) as caught:
        read_text_data(tmp_path)
    assert str(caught.value).startswith(f"{path}:{last}: {problem}")


def test_a_new_domain_is_read(tmp_path: Path) -> None:
    broken(tmp_path, "domains.csv", "sports,2")
    (tmp_path / "templates" / "sports.txt").write_text("[name] [vgo.past.3s]\n", encoding="utf-8")
    assert read_text_data(tmp_path).domains["sports"] == Domain(2, ["[name] [vgo.past.3s]"])


def test_domains_and_template_files_belong_together(tmp_path: Path) -> None:
    broken(tmp_path, "domains.csv", "sports,2")
    path = tmp_path / "templates" / "sports.txt"
    with pytest.raises(DataFileError, match=rf"^{re.escape(str(path))} is missing$"):
        read_text_data(tmp_path)
    shutil.copyfile(DATA / "domains.csv", tmp_path / "domains.csv")
    path.write_text("[name] [vgo.past.3s]\n", encoding="utf-8")
    with pytest.raises(DataFileError, match=rf"^{re.escape(str(path))} has no row in domains\.csv$"):
        read_text_data(tmp_path)
