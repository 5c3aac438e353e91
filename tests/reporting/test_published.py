"""The published figures: transcribed as printed, and compared as worked out by hand."""

import csv
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import pytest
from scipy import stats

import datasets
import methods
from benchmark.reporting import published
from benchmark.reporting.kinds import comparison
from benchmark.reporting.model import Table
from benchmark.reporting.published import Figure, Ours, compare, named, spread
from benchmark.reporting.write.cells import PLAIN, rows
from mmdg_common import UsageError

PROJECT = Path(__file__).resolve().parents[2]
ROWS = {"mbcd": 328, "gmp": 102, "mer_dg": 55, "ur_mmdg": 38, "ssmdg": 12, "mmdg_bench": 2}
KEYS = {
    "2511.20258": "mbcd",
    "2603.14175": "gmp",
    "2605.01967": "mer_dg",
    "2507.03304": "ur_mmdg",
    "SSMDG": "ssmdg",
    "2606.00891": "mmdg_bench",
}
OF_PAPERS = {
    *(
        "activation-based",
        "activation-based+gmp",
        "balgrad",
        "cagp-only",
        "cggm",
        "cmrf+gmp",
        "drb",
    ),
    *("film", "film+gmp", "fixed proj-class", "fixed proj-domain", "full cagp", "full igdm"),
    *("igdm w/o k", "igdm w/o p", "igdm-only", "moosa+gmp", "pcgrad", "reverse cagp"),
    *("rna-net+gmp", "simmmdg+gmp", "summation", "summation+gmp", "unified modulation"),
    *("cmc", "cmc+mer-dg", "cmrf+mer-dg", "fusion+l_marg", "fusion+l_spec", "fusion+mer-dg"),
    *("simmmdg+mer-dg", "jigen", "ur-jigen", "ur-mixup", "best variant", "cgmatch (video)"),
    *("fixmatch (video)", "mdja", "source-only", "ssmdg"),
}
"""Names that papers use and the suite does not."""

FIGURES = published.read()
TRI = ("video", "flow", "audio")
VA, VF, FA = ("video", "audio"), ("video", "flow"), ("flow", "audio")


def texts(table: Table) -> tuple[list[tuple[str, ...]], tuple[str, ...]]:
    """Return the rows of a table as they are written, and its notes."""
    assert all(len(row.cells) == len(table.columns) for row in table.rows)
    return [tuple(row) for row in rows(table, PLAIN)], table.notes


def find(**wanted: object) -> list[Figure]:
    """Return the figures that agree in all that is wanted."""
    return [f for f in FIGURES if all(getattr(f, name) == v for name, v in wanted.items())]


def value(paper: str, table: str, **wanted: object) -> float:
    (figure,) = find(paper=paper, table=table, **wanted)
    return figure.value


def test_every_paper_has_its_rows():
    assert Counter(figure.paper for figure in FIGURES) == ROWS
    assert published.papers(FIGURES).keys() == ROWS.keys()
    assert published.papers(FIGURES)["mbcd"] == "arXiv 2511.20258; AAAI 2026"


@pytest.mark.data
def test_every_row_is_the_one_of_the_collection():
    collection = PROJECT.parent / "shared" / "design" / "published.csv"
    if not collection.exists():
        pytest.skip(f"there is no {collection}")
    with collection.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(FIGURES) == 537
    figures = {paper: iter(find(paper=paper)) for paper in ROWS}
    for row in rows:
        key = next(KEYS[start] for start in KEYS if row["paper_id"].startswith(start))
        figure = next(figures[key])
        printed = (row["table"], float(row["value"]), float(row["std"]) if row["std"] else None)
        assert (figure.table, figure.value, figure.std) == printed
        assert figure.label == row["method"].removesuffix(" [row identity inferred]")
        assert figure.dataset == row["dataset"].lower().replace("-", "_")
        assert split_of(figure) == split_in(row)
        assert modalities_of(figure) in (row["modalities"].split(" ")[0], "")


def initials(domains: tuple[str, ...]) -> set[str]:
    return {domain if domain[0] == "D" else domain[0].upper() for domain in domains}


def split_of(figure: Figure) -> tuple[set[str], str]:
    (target,) = initials((figure.target,)) if figure.target != "average" else ("average",)
    return initials(figure.sources), target


def split_in(row: dict[str, str]) -> tuple[set[str], str]:
    target = row["target"]
    if match := re.fullmatch(r"in-domain \(split (D\d)\)", target):
        target = match[1]
    if target not in ("D1", "D2", "D3", "H", "A", "C"):
        return set(), "average"
    return set(row["sources"].split(";")), target


def modalities_of(figure: Figure) -> str:
    """Return V+F+A, the letter of the branch, or nothing where they are not stated."""
    if figure.modalities == (published.NOT_STATED,):
        return ""
    if match := re.match(r"accuracy of the (\w+) branch", figure.metric):
        return match[1][0].upper()
    return "+".join(modality[0].upper() for modality in figure.modalities)


@pytest.mark.parametrize(("paper", "count"), [("mbcd", 48 + 12 + 4 + 6 + 3), ("ur_mmdg", 6)])
def test_printed_averages_are_those_of_their_cells(paper, count):
    checked = 0
    for average in find(paper=paper, target="average", metric="accuracy"):
        same = ("table", "dataset", "setting", "modalities", "label")
        cells = [
            figure.value
            for figure in find(paper=paper, **{name: getattr(average, name) for name in same})
            if figure.target != "average"
        ]
        if not cells:  # only averages are printed
            assert paper == "ur_mmdg"
            continue
        assert len(cells) == (6 if average.setting == "single-source" else 3)
        assert fmean(cells) == pytest.approx(average.value, abs=0.01)
        checked += 1
    assert checked == count


def test_the_other_papers_print_only_averages():
    others = [f for f in FIGURES if f.paper not in ("mbcd", "ur_mmdg") and f.target != "average"]
    assert [(f.paper, f.target, f.value) for f in others] == [("mmdg_bench", "human", 91.35)]


def test_names_are_those_of_the_suite():
    for figure in FIGURES:
        card = datasets.get(figure.dataset).card
        order = [spec.name for spec in card.modalities]
        if figure.modalities != (published.NOT_STATED,):
            assert [m for m in order if m in figure.modalities] == list(figure.modalities)
        assert [d for d in card.domains if d in figure.sources] == list(figure.sources)
        assert figure.target in {*card.domains, "average"} - {*figure.sources}
        if figure.target != "average":
            assert len(figure.sources) == (1 if figure.setting == "single-source" else 2)


def test_methods_are_those_of_the_suite_or_known_to_be_a_papers_own():
    names = {figure.method for figure in FIGURES}
    assert names >= OF_PAPERS
    for name in names - OF_PAPERS:
        method, _, told = name.rstrip(")").partition(" (")
        pairs = [pair.split("=") for pair in told.split(", ")] if told else []
        settings = {k: float(v) if re.fullmatch(r"[\d.]+", v) else v for k, v in pairs}
        assert named(method, {method: settings}) == name
    for name in OF_PAPERS:
        with pytest.raises(UsageError):
            methods.components(name)


def test_mbcd_with_three_modalities():
    def cells(dataset, method):
        found = find(table="Table 1", dataset=dataset, method=method, modalities=TRI)
        return {f.target: f.value for f in found}

    hac = {"human": 81.28, "animal": 78.11, "cartoon": 55.48, "average": 71.62}
    assert cells("hac", "mbcd") == hac
    epic = {"D1": 49.46, "D2": 53.70, "D3": 48.50, "average": 50.55}
    assert cells("epic_kitchens", "erm") == epic
    (figure,) = find(table="Table 1", method="mbcd", modalities=TRI, target="animal")
    assert (figure.std, figure.std_usable, figure.n) == (0.32, True, 3)


def test_single_figures():
    epic, hac = {"dataset": "epic_kitchens"}, {"dataset": "hac"}
    two = {"paper": "mbcd", "table": "Table 2"}
    assert value(**two, **epic, method="mbcd", sources=("D3",), target="D2") == 70.77
    assert value(**two, **hac, method="moosa", sources=("animal",), target="cartoon") == 51.23
    assert value(**two, **hac, method="mbcd", target="average") == 64.48
    assert value("mbcd", "Table 1", **hac, method="cmrf", modalities=VA, target="animal") == 79.07
    assert value("mbcd", "Table 1", **epic, method="erm", modalities=VF, target="average") == 60.21
    three = find(paper="mbcd", table="Table 3 (in-domain)", method="mbcd")
    assert [(f.setting, f.target, f.value) for f in three] == [
        *(("in-domain", "D1", 84.76), ("in-domain", "D2", 80.20), ("in-domain", "D3", 79.83)),
        ("in-domain", "average", 81.60),
    ]
    four = {"paper": "mbcd", "table": "Table 4 (ablation)", "target": "average"}
    assert value(**four, method="ema") == 60.94
    assert value(**four, method="mbcd (consistency=none, dropout=none)") == 62.52
    five = {"paper": "mbcd", "table": "Table 5 (dropout)", "target": "human"}
    assert value(**five, method="mbcd (dropout=fixed)") == 64.34
    assert value("gmp", "Table 2", **hac, method="gmp") == 64.91
    one = {"paper": "gmp", "table": "Table 1", "setting": "multi-source"}
    assert value(**one, method="gmp", metric="accuracy of the video branch") == 52.33
    assert value(**one, method="erm", modalities=("video",)) == 54.98
    mer = {"paper": "mer_dg", "table": "single-source table"}
    assert value(**mer, **hac, method="cmrf") == 64.10
    assert value("ur_mmdg", "main results", method="ur-mixup", target="D3") == 70.76
    assert value("ur_mmdg", "key findings text", method="cmrf") == 72.44


def test_evidence_says_what_was_read_heard_and_concluded():
    assert {f.paper for f in find(evidence="second-hand")} == ROWS.keys() - {"mbcd", "gmp"}
    assert not [f for f in FIGURES if f.paper not in ("mbcd", "gmp") and f.evidence == "read"]
    concluded = find(evidence="inferred")
    assert Counter((f.table, f.modalities) for f in concluded) == {
        ("Table 1", VA): 48,
        ("Table 1", VF): 48,
        ("Table 4 (ablation)", FA): 12,
    }
    whole = [f for f in find(table="Table 4 (ablation)", paper="mbcd") if f.evidence == "read"]
    assert {f.method for f in whole} == {"erm", "ema", "mbcd"}
    assert all(f.note for f in FIGURES if f.evidence != "read")


def test_stds_that_are_likely_misprinted_are_kept_and_not_usable():
    wrong = [f for f in FIGURES if f.std is not None and not f.std_usable]
    assert Counter((f.table, f.std) for f in wrong) == {
        **{("Table 1", std): 3 for std in (1.16, 4.33, 2.13, 3.19)},
        ("Table 2", 3.72): 2,
    }
    assert {(f.dataset, f.method) for f in wrong} == {("hac", "rna_net")}
    assert all("std likely misprinted" in f.note for f in wrong)


FIGURE = Figure(
    *("mine", "Journal 1", "Table 1", "hac", "multi-source", ("human", "animal"), "cartoon", VA),
    *("erm", "ERM", "accuracy", 50.0, 3.0, True, 3, "read", ""),
)
OURS = Ours("hac", "multi-source", ("human", "animal"), "cartoon", VA, "erm", 54.0, 4.0, 4)


def test_a_difference_is_inside_or_outside_the_uncertainty_of_both_means():
    # Welch: variances 16/4 and 9/3 of the means, 49 / (16/3 + 9/2) = 4.98 degrees of freedom.
    (inside,) = compare([OURS], [FIGURE])
    assert (inside.difference, inside.inside) == (4.0, True)
    t = stats.t.ppf(0.975, 49 / (16 / 3 + 9 / 2))
    assert inside.uncertainty == pytest.approx(t * math.sqrt(7))
    assert compare([replace(OURS, mean=56.9)], [FIGURE])[0].inside is False
    assert compare([replace(OURS, mean=43.1)], [FIGURE])[0].inside is False
    # Without a spread of ours it is the paper's: 8 degrees of freedom, sqrt(9/9).
    exact = replace(OURS, mean=50 + float(stats.t.ppf(0.975, 8)), std=0.0)
    assert compare([exact], [replace(FIGURE, n=9)])[0].inside is True


def test_three_seeds_are_assumed_where_a_paper_does_not_say():
    (known,), (assumed,) = (compare([OURS], [replace(FIGURE, n=n)]) for n in (3, None))
    assert known.uncertainty == assumed.uncertainty


@pytest.mark.parametrize(
    ("ours", "figure"),
    [
        ({"std": None, "n": 1}, {}),
        ({"n": 1}, {}),
        ({}, {"std": None, "std_usable": False}),
        ({}, {"std_usable": False}),
    ],
)
def test_without_both_spreads_it_cannot_be_told(ours, figure):
    found = compare([replace(OURS, **ours)], [replace(FIGURE, **figure)])
    assert (found[0].difference, found[0].uncertainty, found[0].inside) == (4.0, None, None)
    (row,), notes = texts(comparison.differences(found))
    assert row[-3:] == ("+4.00", "—", "cannot be told")
    assert ("± 3.00" in row[9]) == (not figure)  # a misprint is not shown
    assert any("3 is assumed" in note.replace("n = ", "") for note in notes)


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "epic_kitchens"},
        {"setting": "semi-supervised"},
        {"sources": ("human",)},
        {"target": "human"},
        {"modalities": VF},
        {"method": "mbcd"},
        {"metric": "accuracy of the video branch"},
    ],
)
def test_only_the_same_cell_and_method_are_compared(other):
    assert compare([OURS], [replace(FIGURE, **other)]) == []
    assert spread([FIGURE, replace(FIGURE, paper="theirs", **other)]) == []


def test_order_does_not_matter_and_a_repeated_figure_counts_once():
    turned = replace(OURS, sources=OURS.sources[::-1], modalities=VA[::-1])
    (found,) = compare([turned], [FIGURE, replace(FIGURE, table="Table 4", label="none")])
    assert (found.tables, found.figure) == (("Table 1", "Table 4"), FIGURE)
    average = replace(OURS, target="average")
    assert compare([average], [replace(FIGURE, target="average", sources=())])


def test_a_comparison_with_the_real_figures():
    cell = ("epic_kitchens", "multi-source", ("D1", "D3"), "D2", TRI)
    found = compare([Ours(*cell, "erm", 60.0, 1.0, 3)], FIGURES)
    assert [(d.figure.paper, round(d.difference, 2), d.inside) for d in found] == [
        ("mbcd", 6.30, False),  # 53.70 ± 1.78: sqrt((1 + 3.1684) / 3) = 1.18, t 3.10
        ("ur_mmdg", -7.20, None),
    ]
    shown, notes = texts(comparison.differences(found))
    assert shown[0] == (
        *("epic_kitchens", "multi-source", "D1+D3 → D2", "video+flow+audio", "erm", "mbcd"),
        *("Table 1", "ERM", "read", "53.70 ± 1.78 (3)", "60.00 ± 1.00 (3)", "+6.30", "3.65", "no"),
    )
    assert shown[1][8:] == ("second-hand", "67.20", "60.00 ± 1.00 (3)", "-7.20", "—", shown[1][-1])
    assert "second-hand: in a text about the paper." in notes


@pytest.mark.parametrize(
    ("dataset", "method", "modalities", "lowest", "highest", "papers"),
    [
        ("epic_kitchens", "erm", VA, (55.06, "gmp"), (59.09, "mer_dg"), 3),
        ("epic_kitchens", "rna_net", VA, (56.15, "mbcd"), (60.31, "gmp"), 2),
        ("epic_kitchens", "moosa", VA, (60.29, "gmp"), (60.39, "mbcd"), 2),
        ("epic_kitchens", "cmrf", VA, (60.60, "gmp"), (63.91, "mer_dg"), 3),
        ("epic_kitchens", "erm", TRI, (50.55, "mbcd"), (61.47, "mer_dg"), 3),
        ("hac", "erm", VA, (61.86, "gmp"), (66.34, "mbcd"), 3),
        ("hac", "simmmdg", VA, (67.01, "mbcd"), (67.83, "mer_dg"), 3),
        ("hac", "erm", TRI, (62.87, "mbcd"), (66.06, "mer_dg"), 2),
    ],
)
def test_the_spread_of_the_same_baseline_between_papers(
    dataset, method, modalities, lowest, highest, papers
):
    cell = (dataset, "multi-source", "average", modalities, method)
    (found,) = [s for s in spread(FIGURES) if cell_of(s) == cell]
    assert (found.lowest.value, found.lowest.paper) == lowest
    assert (found.highest.value, found.highest.paper) == highest
    assert found.range == pytest.approx(highest[0] - lowest[0])
    assert len(found.papers) == papers


def cell_of(one: published.Spread) -> tuple[object, ...]:
    figure = one.lowest
    return (figure.dataset, figure.setting, figure.target, figure.modalities, figure.method)


def test_the_widest_spreads_of_video_and_audio_are_those_known():
    widest = {
        dataset: max(s.range for s in spread(find(dataset=dataset, modalities=VA)))
        for dataset in ("epic_kitchens", "hac")
    }
    assert widest == pytest.approx({"epic_kitchens": 4.16, "hac": 4.48})


def test_one_paper_alone_and_unknown_modalities_have_no_spread():
    assert spread(find(paper="gmp")) == []
    unknown = replace(FIGURE, modalities=(published.NOT_STATED,))
    assert spread([unknown, replace(unknown, paper="theirs")]) == []


def test_the_table_of_spreads():
    table = comparison.spreads(spread(find(method="rna_net", dataset="hac")))
    assert table.columns[-3:] == ("lowest", "highest", "range")
    shown, notes = texts(table)
    assert shown == [
        (
            *("hac", "multi-source", "average", "video+audio", "rna_net", "2"),
            *("62.88 (gmp, read)", "65.60 (mbcd, inferred)", "2.72"),
        )
    ]
    assert [note for note in notes if note.startswith("mbcd, RNA-Net: modalities inferred")]
    assert comparison.spreads([]).rows == comparison.differences([]).rows == ()


def test_a_name_tells_settings_other_than_the_defaults():
    whole = {"mbcd": methods.resolve("mbcd")["mbcd"]}
    assert named("mbcd", whole) == named("mbcd") == "mbcd"
    assert named("swad+erm") == "swad"
    assert named("mbcd", {"mbcd": {"distill_fused": 0.0}}) == "mbcd (distill_fused=0)"
    both = {"sagm": {"alpha": 0.5}, "mbcd": {"alpha": 0.5}}
    assert named("sagm+mbcd", both) == "sagm+mbcd (mbcd.alpha=0.5, sagm.alpha=0.5)"


GOOD = "mine,Journal 1,Table 1,hac,multi-source,human+animal,cartoon,video+audio,erm,ERM,accuracy,"
GOOD += "50.0,3.0,true,3,read,"


def test_a_good_row_is_read(tmp_path):
    write(tmp_path, GOOD)
    assert published.read(tmp_path) == [FIGURE]


def write(folder, *rows):
    lines = [",".join(published.COLUMNS), *rows]
    (folder / "mine.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (",50.0,", ",fifty,", "value is 'fifty'; give a number from 0 to 100"),
        (",50.0,", ",nan,", "value is 'nan'; give a number from 0 to 100"),
        (",3.0,", ",-1,", "std is '-1'; give a number from 0 to 100"),
        (",true,", ",maybe,", "std_usable is true or false beside a std"),
        (",3.0,", ",,", "std_usable is true or false beside a std"),
        (",3,read", ",0,read", "n is '0'; give a number of seeds"),
        (",read,", ",red,", "unknown evidence 'red'. Did you mean 'read'?"),
        (",hac,", ",,", "nothing in dataset"),
        (",human+animal,", ",,", "give sources for a domain as target"),
        (",cartoon,", ",average,", "none for 'average'"),
        ("mine,", "yours,", "paper is 'yours', but the file's name says 'mine'"),
        (",read,", ",read", "16 fields instead of 17"),
        (",read,", ',read,"', "unexpected end of data"),
        (",read,", f",read,\n{GOOD}", "this figure of this table is there already"),
    ],
)
def test_a_bad_row_gives_one_error_with_its_line(tmp_path, old, new, said):
    good = GOOD.replace("Table 1", "Table 0")
    write(tmp_path, good, GOOD.replace(old, new, 1))
    line = 4 if "\n" in new else 3
    with pytest.raises(UsageError, match=re.escape(f"{tmp_path / 'mine.csv'}:{line}: ")) as error:
        published.read(tmp_path)
    assert said in str(error.value)


def test_other_columns_and_a_folder_without_files_are_errors(tmp_path):
    with pytest.raises(UsageError, match=r"holds no \.csv file"):
        published.read(tmp_path)
    (tmp_path / "mine.csv").write_text("paper,value\n")
    with pytest.raises(UsageError, match=r"mine\.csv:1: the columns must be paper,source,"):
        published.read(tmp_path)
    (tmp_path / "mine.csv").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="cannot read"):
        published.read(tmp_path)
