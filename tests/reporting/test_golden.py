"""The report of a fixed store, in every format, as it was when somebody looked at it and agreed.

After a wanted change, rewrite the files and look at the difference:

    PYTHONPATH=.:tests/support python tests/reporting/test_golden.py
"""

import re
import shutil
import sys
from pathlib import Path

import pytest
from support_reports import FULL, SOME, make_spec, record, row_of, store_runs

from benchmark import report
from benchmark.records.read import Record
from benchmark.records.state import State

GOLDEN = Path(__file__).parent / "golden"
FORMATS = {"text": "txt", "markdown": "md", "latex": "tex", "csv": "csv", "html": "html"}
ONE = {"modalities": ("m1",), "encoders": {"m1": "mlp"}, "data": "ee" * 8}


def fixed(root: Path) -> Path:
    """Two sets of modalities, gaps, a failed run, a method with its own rule, single-source."""
    own = [record(make_spec("swad", t), 0.8125) for t in ("d1", "d2", "d3")]
    for run in own:
        assert run.result is not None
        run.result["rules"]["own"] = run.result["rules"]["last"]
    single = [
        record(make_spec("erm", t, setting="single-source", sources=(s,)), 0.25 + 0.125 * i)
        for i, (s, t) in enumerate((("d1", "d2"), ("d2", "d1"), ("d1", "d3")))
    ]
    return store_runs(
        root,
        [
            *row_of("erm", FULL),
            *row_of("mbcd", SOME),
            *row_of("erm", SOME, **ONE),
            *row_of("mbcd", FULL, **ONE),
            *own,
            *single,
            Record(make_spec("mbcd", "d2", 1), State.FAILED, "LookupError: no such thing"),
        ],
    )


def rendered(root: Path, form: str) -> str:
    path = root.parent / f"report.{FORMATS[form]}"
    options = ["--results", str(root), "--format", form, "--output", str(path)]
    assert report.main(options) == 0
    # The folder and the time are others in every run of this test, and pictures depend on fonts.
    text = path.read_text().replace(str(root), "RESULTS")
    text = re.sub(r"newest record of [-0-9]+ [:0-9]+ UTC", "newest record of TIME", text)
    text = re.sub(r"base64,[A-Za-z0-9+/=]+", "base64,PICTURE", text)
    # Looks and behaviour have tests of their own in a browser.
    text = re.sub(r"sha256-[A-Za-z0-9+/=]+", "sha256-HASH", text)
    return re.sub(r"<(style|script)>.*?</\1>", r"<\1></\1>", text, flags=re.DOTALL)


@pytest.mark.parametrize("form", FORMATS)
def test_the_report_is_what_was_agreed_on(form: str, tmp_path: Path) -> None:
    assert (
        rendered(fixed(tmp_path / "res"), form) == (GOLDEN / f"report.{FORMATS[form]}").read_text()
    )


if __name__ == "__main__":
    scratch = Path(sys.argv[1] if len(sys.argv) > 1 else "golden-scratch")
    store = fixed(scratch / "res")
    for name, ending in FORMATS.items():
        (GOLDEN / f"report.{ending}").write_text(rendered(store, name))
    shutil.rmtree(scratch)
