"""Reports of made-up studies: complete, self-contained, and true to their numbers."""

import base64
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
from synthetic_decks import STRIDE, diffusion_stages, melt_quench_stages, run_deck, stage, write_deck

from napos_lmp.analysis.deck import analyse_deck
from napos_lmp.engine.record import RunRecord, SegmentRecord, write_run_record
from napos_lmp.errors import StudyError
from napos_lmp.report import collect_study, headline, write_report
from napos_lmp.report.html import chemical, subscripted

VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """The page's tags, links, tables (a list of rows of cells) and text; asserts that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.links: list[str] = []
        self.images: list[dict[str, str]] = []
        self.ids: set[str] = set()
        self.tables: list[list[list[tuple[bool, str]]]] = []
        self.text = ""
        self._hidden = False
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        assert tag not in ("script", "iframe", "object", "embed", "link")
        assert not {"style", "onload", "onclick", "srcset"} & set(values)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in values:
            assert values["id"] not in self.ids
            self.ids.add(values["id"])
        if "href" in values:
            self.links.append(values["href"])
        if tag == "img":
            self.images.append(values)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append((("data-number" in values), ""))
        self._hidden = tag in ("sup", "style") or values.get("class") == "u"

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        self._hidden = False

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data
        if self.open and self.open[-1] in ("td", "sub", "a") and "td" in self.open and not self._hidden:
            is_number, text = self.tables[-1][-1][-1]
            self.tables[-1][-1][-1] = (is_number, text + data)

    @property
    def numbers(self) -> list[str]:
        return [text.strip() for table in self.tables for row in table for is_number, text in row if is_number]


def write_study(root: Path) -> None:
    """Na3PS4 with two replicas and a diffusion run; Na4P2S7 with decks in every state of not being finished."""
    for seed in (1, 2):
        deck = root / "Na3PS4" / f"seed-{seed}" / "melt-quench"
        stages = melt_quench_stages(frames=20)
        run_deck(deck, stages, write_deck(deck, stages, seed=seed), seed=seed, density=2.0 + 0.01 * seed)
        analyse_deck(deck)
    for temperature, coefficient in ((800, 0.3), (1000, 0.6)):
        deck = root / "Na3PS4" / "seed-1" / f"diffusion-{temperature:04d}K"
        stages = diffusion_stages(temperature, frames=300)
        structure = write_deck(deck, stages, source="../melt-quench", protocol=deck.name)
        run_deck(deck, stages, structure, diffusion=coefficient, seed=temperature)
        analyse_deck(deck)
    stages = melt_quench_stages(frames=20)
    dimer = {"dimers": True, "label": "<script>alert(1)</script>"}
    early = root / "Na4P2S7" / "seed-1" / "melt-quench"
    run_deck(early, stages[:3], write_deck(early, stages, **dimer), finish=False)
    analyse_deck(early)
    failed = root / "Na4P2S7" / "seed-2" / "melt-quench"
    run_deck(failed, stages[:1], write_deck(failed, stages, seed=2, **dimer), finish=False)
    segment = SegmentRecord(
        number=0,
        start_step=0,
        restart=None,
        command=("lmp",),
        ranks=1,
        threads=1,
        lammps_version="22 Jul 2025 <b>",
        host="here",
        started="2026-01-01T00:00:00+00:00",
        outcome="failed",
        message="3 atoms were lost & never found",
    )
    write_run_record(failed, RunRecord(segments=(segment,)))
    write_deck(root / "Na4P2S7" / "seed-3" / "melt-quench", stages, seed=3, dimers=True)
    hot = diffusion_stages(900, frames=100)
    waiting = root / "Na4P2S7" / "seed-3" / "diffusion-0900K"
    write_deck(waiting, hot, seed=3, source="../melt-quench", protocol="diffusion-0900K", dimers=True)
    done = root / "Na4P2S7" / "seed-4" / "melt-quench"
    run_deck(done, stages, write_deck(done, stages, seed=4, dimers=True))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    root = tmp_path_factory.mktemp("studies") / "trial & <error>"
    write_study(root)
    return root


@pytest.fixture(scope="module")
def report(study):
    path = write_report(study)
    return path, Page(path.read_text(encoding="utf-8")), json.loads((path.parent / "report.json").read_text())


class TestPage:
    def test_lies_beside_its_numbers(self, report, study):
        assert report[0] == study.resolve() / "report" / "report.html"
        assert sorted(p.name for p in report[0].parent.iterdir()) == ["numbers.csv", "report.html", "report.json"]

    def test_nothing_outside_is_referred_to(self, report):
        path, page, _ = report
        assert page.links
        assert all(link.startswith("#") for link in page.links)
        assert {link[1:] for link in page.links} <= page.ids
        assert page.images
        assert all(image["src"].startswith("data:image/svg+xml;base64,") and image["alt"] for image in page.images)
        text = re.sub(r'src="data:[^"]*"', "", path.read_text(encoding="utf-8"))
        assert not re.search(r"https?:|//[a-z]|url\(|@import", text)

    def test_figures_are_whole_drawings_without_links(self, report):
        for image in report[1].images:
            drawing = base64.b64decode(image["src"].partition(",")[2]).decode()
            assert drawing.rstrip().endswith("</svg>")
            assert not re.search(r"href=\"(?!#)", drawing)
            assert "<text" not in drawing

    def test_every_number_in_the_tables_is_in_the_json(self, report):
        _, page, content = report
        assert len(page.numbers) > 50
        assert page.numbers == [number["text"] for number in content["numbers"]]

    def test_no_number_without_unit_or_reason(self, report):
        for number in report[2]["numbers"]:
            assert number["unit"]
            assert (number["value"] is None) == bool(number["refused"])
            if number["value"] is not None and number["low"] is None:
                assert number["note"] or number["basis"], number

    def test_names_are_escaped(self, report):
        path, page, _ = report
        assert "trial & <error>" in page.text
        assert "3 atoms were lost & never found" in page.text
        assert "22 Jul 2025 <b>" in page.text
        assert "No potential at all <b>" in page.text
        assert "<script" not in path.read_text(encoding="utf-8")

    def test_same_study_gives_the_same_page(self, report, study):
        before = report[0].read_bytes()
        assert write_report(study).read_bytes() == before


class TestMissing:
    def test_each_state_is_told_with_its_reason(self, study):
        states = {deck.name: (deck.status, deck.reason) for deck in collect_study(study).decks}
        assert states["Na3PS4/seed-1/melt-quench"] == ("complete", "")
        assert states["Na4P2S7/seed-1/melt-quench"][0] == "unfinished"
        assert "step 1200 of 1600" in states["Na4P2S7/seed-1/melt-quench"][1]
        assert states["Na4P2S7/seed-2/melt-quench"] == ("failed", "3 atoms were lost & never found")
        assert states["Na4P2S7/seed-3/melt-quench"][0] == "not started"
        assert states["Na4P2S7/seed-3/diffusion-0900K"][0] == "waiting"
        assert states["Na4P2S7/seed-4/melt-quench"][0] == "not analysed"

    def test_page_names_them(self, report):
        text = report[1].text
        assert "5 of 9 decks are missing or incomplete" in text
        for name in ("Na4P2S7/seed-1/melt-quench", "Na4P2S7/seed-3/diffusion-0900K"):
            assert name in text

    def test_folder_without_decks(self, tmp_path):
        with pytest.raises(StudyError, match="holds no deck"):
            write_report(tmp_path)
        with pytest.raises(StudyError, match="no folder"):
            write_report(tmp_path / "nothing")

    def test_changed_manifest_makes_the_analysis_void(self, study, tmp_path):
        copy = tmp_path / "study"
        shutil.copytree(study / "Na3PS4" / "seed-2", copy)
        manifest = copy / "melt-quench" / "deck.json"
        manifest.write_text(manifest.read_text().replace("made up", "made anew"))
        (deck,) = collect_study(copy).decks
        assert deck.status == "not analysed"
        assert "deck.json has changed" in deck.reason

    def test_study_with_nothing_run(self, tmp_path):
        write_deck(tmp_path / "deck", melt_quench_stages())
        page = Page(write_report(tmp_path).read_text(encoding="utf-8"))
        assert "not determined" in page.text
        assert page.images == []


class TestContent:
    def test_replicas_and_runs_are_kept_apart(self, report):
        numbers = [n for n in report[2]["numbers"] if n["table"] == "replicas-glass-1" and "Density" in n["row"]]
        assert [n["column"] for n in numbers] == ["Mean", "Seed 1", "Seed 2"]
        assert numbers[0]["basis"] == "between 2 replicas"
        assert numbers[1]["basis"] == numbers[2]["basis"] == "within run"
        assert numbers[0]["value"] == pytest.approx((numbers[1]["value"] + numbers[2]["value"]) / 2)

    def test_headline(self, study):
        lines = {(line.glass, line.quantity): line for line in headline(study)}
        assert len(lines) == 6
        density = lines["Na3PS4", "Density at 300 K"]
        assert density.value == pytest.approx(2.015, abs=0.005)
        assert density.text.endswith("g/cm³")
        assert lines["Na3PS4", "P with four S/O at 300 K"].value == 100
        conductivity = lines["Na3PS4", "Na⁺ conductivity at 1000 K"]
        assert conductivity.low < conductivity.value < conductivity.high
        assert conductivity.unit == "S/cm"
        missing = [line for line in lines.values() if line.glass == "Na4P2S7" and "conductivity" in line.quantity]
        assert missing[0].value is None
        assert missing[0].refused
        assert report_headline(study) == [vars(line) for line in headline(study)]

    def test_activation_energy_is_that_of_two_points_or_refused(self, report):
        (energy,) = [n for n in report[2]["numbers"] if n["column"] == "Activation energy" and n["row"] == "Na3PS4"]
        if energy["value"] is None:
            assert energy["refused"]
        else:
            assert energy["unit"] == "eV"

    @pytest.mark.parametrize(
        "sentence",
        [
            "cooled at 1500 K/ps, about 10¹⁵ times faster",
            "run from 300 to 1500 K; the training data of made-up span 300 to 1000 K",
            "Made up for tests.",
            "its errors are 4.2 meV/atom in energy and 96 meV/Å in forces",
            "216 atoms, of which 27 P",
            "every ion is taken to move on its own",
            "near 455 to 460 K",
        ],
    )
    def test_reasons_for_distrust(self, report, sentence):
        assert sentence.replace("run from", "runs from") in report[1].text

    def test_provenance(self, report):
        text = report[1].text
        for part in ("0.0.test", "0" * 64, "abababab", "time step 2 fs", "22 Jul 2025"):
            assert part in text


def with_share(study: Path, copy: Path, key: str, value: float) -> Path:
    """Na3PS4 of the study, with a share (%) that its first replica alone has."""
    shutil.copytree(study / "Na3PS4", copy)
    path = copy / "seed-1" / "melt-quench" / "analysis" / "analysis.json"
    content = json.loads(path.read_text())
    content["stages"][-1]["quantities"].append({"key": key, "label": key, "unit": "%", "value": value})
    path.write_text(json.dumps(content))
    return copy


class TestGrouping:
    def test_shell_that_a_replica_lacks_counts_as_zero_there(self, study, tmp_path):
        copy = with_share(study, tmp_path / "study", "shell.P.PS3", 10.0)
        (glass,) = collect_study(copy).glasses
        assert [m.number.value for m in glass.measurements("shell.P.PS3") if m.temperature == 300] == [10.0, 0.0]
        assert glass.number("shell.P.PS3", 300).value == 5.0

    def test_collapsed_glass_with_a_dozen_bridges_has_its_report(self, study, tmp_path):
        copy = with_share(study, tmp_path / "study", "unit.P.n12", 6.0)
        heads = re.findall(r"<th[^>]*>(P[⁰¹²³]+)<", write_report(copy).read_text(encoding="utf-8"))
        assert heads == ["P⁰", "P¹", "P²", "P³", "P¹²"]

    def test_rate_of_a_quench_in_steps_is_the_protocols(self, tmp_path):
        stages = (
            stage("01-melt", "melt", "nvt", 0, 20 * STRIDE, 1500, 1500),
            stage("02-quench", "quench", "nvt", 20 * STRIDE, 30 * STRIDE, 900, 900),
            stage("03-quench", "quench", "nvt", 30 * STRIDE, 40 * STRIDE, 300, 300),
        )
        write_deck(tmp_path / "deck", stages)
        manifest = tmp_path / "deck" / "deck.json"
        content = json.loads(manifest.read_text())
        assert collect_study(tmp_path).decks[0].quench_rates == ()
        content["protocol"]["stages"] = [{"kind": "melt"}, {"kind": "quench", "rate_K_per_ps": 5.0, "steps": 2}]
        manifest.write_text(json.dumps(content))
        assert collect_study(tmp_path).decks[0].quench_rates == (5.0,)
        assert "cooled at 5 K/ps" in Page(write_report(tmp_path).read_text(encoding="utf-8")).text

    def test_protocols_make_different_glasses(self, tmp_path):
        for protocol in ("slow", "fast"):
            write_deck(tmp_path / protocol, melt_quench_stages(), protocol=protocol)
        write_deck(tmp_path / "hot", diffusion_stages(900), protocol="diffusion-0900K", source="../slow")
        glasses = {glass.label: [deck.name for deck in glass.decks] for glass in collect_study(tmp_path).glasses}
        assert glasses == {"Na3PS4 (fast)": ["fast"], "Na3PS4 (slow)": ["slow", "hot"]}, "sources come first"

    def test_index_gives_title_series_order_and_what_is_gone(self, study, tmp_path):
        copy = tmp_path / "study"
        shutil.copytree(study, copy, ignore=shutil.ignore_patterns("report"))
        deck = {
            "label": "",
            "formula": "",
            "potential": "made-up",
            "seed": 1,
            "protocol": "melt-quench",
            "source": None,
        }
        paths = ["Na4P2S7/seed-1/melt-quench", "Na3PS4/seed-2/melt-quench", "Na3PS4/seed-9/melt-quench"]
        index = {
            "name": "a series",
            "program_version": "0",
            "study": {"compositions": [{"series": "Na{3+x}P{1+x}S{4+3*x}", "x": [0, 1]}]},
            "decks": [{**deck, "path": path} for path in paths],
        }
        (copy / "study.json").write_text(json.dumps(index))
        view = collect_study(copy)
        assert view.title == "a series"
        assert [glass.label for glass in view.glasses] == ["Na4P2S7", "Na3PS4"]
        assert view.absent == ("Na3PS4/seed-9/melt-quench",)
        assert view.series == ("Na{3+x}P{1+x}S{4+3*x}", {"Na3PS4": 0.0, "Na4P2S7": 1.0})
        page = Page(write_report(copy).read_text(encoding="utf-8"))
        assert "Na3PS4/seed-9/melt-quench: its folder is gone." in page.text
        assert "Density against x in Na₃₊ₓP₁₊ₓS₄₊₃*ₓ" in {image["alt"] for image in page.images}


def report_headline(study):
    return json.loads((study / "report" / "report.json").read_text())["headline"]


def test_subscripted():
    assert subscripted("x in Na4P2S{7-x}O{x}") == "x in Na₄P₂S₇₋ₓOₓ"
    assert subscripted("seed 12") == "seed 12"


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        ("Na4P2S5.5O1.5", "Na<sub>4</sub>P<sub>2</sub>S<sub>5.5</sub>O<sub>1.5</sub>"),
        ("NaPO3, <b>", "NaPO<sub>3</sub>, &lt;b&gt;"),
        ("seed 12, P1 and S2", "seed 12, P1 and S2"),
        ("it must exceed 3 A.", "it must exceed 3 Å."),
        ("0.65Na2S", "0.65Na<sub>2</sub>S"),
        ("Na4P2S7/seed-1", "Na4P2S7/seed-1"),
        ("1.25 +- 0.08", "1.25 ± 0.08"),
        ("A glass in 3 Acts", "A glass in 3 Acts"),
    ],
)
def test_chemical(text, markup):
    assert str(chemical(text)) == markup
