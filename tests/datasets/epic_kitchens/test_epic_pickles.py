"""Split tables are pickles: read without running what they ask for."""

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from support_epic import opened, replace, table_row

from datasets import epic_files
from datasets.epic_files import SPLITS
from datasets.media import MediaError
from datasets.media.tables import read_table
from mmdg_common import UsageError

FRAME = pd.DataFrame([table_row(), table_row(uid=8, verb_class=5)])


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("texts", ["str", "object"])
def test_tables_of_this_pandas_are_read(tmp_path: Path, protocol: int, texts: str) -> None:
    frame = FRAME.astype(dict.fromkeys(["video_id", "start_timestamp", "stop_timestamp"], texts))
    frame.columns = pd.Index(list(frame.columns), dtype=texts)
    frame.to_pickle(tmp_path / "t.pkl", protocol=protocol)
    expected = frame[list(epic_files.COLUMNS)].to_dict("records")
    if protocol > 2:
        assert read_table(tmp_path / "t.pkl", epic_files.COLUMNS) == expected
    else:  # bytes go through a codec there, one more thing to call
        with pytest.raises(MediaError, match=r"_codecs\.encode"):
            read_table(tmp_path / "t.pkl", epic_files.COLUMNS)


def called(module: str, name: str, *arguments: Any) -> bytes:
    """A pickle that calls something, written by hand, because pickle looks names up."""
    words = b"".join(b"\x8c" + bytes([len(w)]) + w.encode() for w in (module, name))
    packed = b"".join(pickletools.optimize(pickle.dumps(a, 2))[2:-1] for a in arguments)
    return b"\x80\x04" + words + b"\x93(" + packed + b"tR."


REFUSED = [
    ("os", "system"),
    ("posix", "system"),
    ("nt", "system"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "open"),
    ("importlib", "import_module"),
    ("operator", "attrgetter"),
    ("functools", "partial"),
    ("subprocess", "Popen"),
    ("pickle", "loads"),
    ("pandas", "eval"),
    ("pandas", "read_pickle"),
    ("pandas.io.common", "os.system"),
    ("pandas.core.frame", "DataFrame.eval"),
    ("pandas.core.frame", "sys.modules"),
    ("pandas.core.computation.eval", "eval"),
    ("numpy", "load"),
    ("numpy", "fromfile"),
    ("numpy", "ndarray.tofile"),
    ("numpy.testing._private.utils", "runstring"),
    ("numpy.f2py", "compile"),
    ("numpy._core.multiarray", "scalar"),
]


@pytest.mark.parametrize("module, name", REFUSED)
def test_a_malicious_pickle_is_refused_by_name(tmp_path: Path, module: str, name: str) -> None:
    (tmp_path / "evil.pkl").write_bytes(called(module, name, "x"))
    with pytest.raises(MediaError, match=rf"evil\.pkl was not read.*{module}\.{name}"):
        read_table(tmp_path / "evil.pkl", epic_files.COLUMNS)


def test_a_malicious_pickle_runs_nothing(tree: Path) -> None:
    trace = tree / "trace"
    evil = [
        called("posix", "system", f"touch {trace}"),
        called("builtins", "eval", f"open({str(trace)!r}, 'w')"),
        # What it asks for comes first, and a good table after it.
        called("builtins", "open", str(trace), "w")[:-1] + b"0" + pickle.dumps(FRAME, 4)[2:],
    ]
    for content in evil:
        pickle.loads(content)
        trace.unlink()  # elsewhere it is run
        replace(tree / SPLITS / "D1_train.pkl", content)
        with pytest.raises(UsageError, match=r"D1_train\.pkl was not read: it asks to call"):
            opened(tree)
        assert not trace.exists()


def test_allowed_names_are_not_called_either(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("pandas was called")

    FRAME.to_pickle(tmp_path / "t.pkl")
    monkeypatch.setattr(pd.DataFrame, "__setstate__", refuse)
    monkeypatch.setattr(pd.core.indexes.base, "_new_Index", refuse)
    assert len(read_table(tmp_path / "t.pkl", epic_files.COLUMNS)) == 2


def test_a_type_that_lies_about_its_bytes_is_no_pointer(tmp_path: Path) -> None:
    """Objects given as bytes would be addresses for numpy to follow."""
    frame = pd.DataFrame({"uid": np.array([1, 2])})
    content = pickle.dumps(frame, 4)
    assert content.count(b"\x8c\x02i8") == 1
    (tmp_path / "t.pkl").write_bytes(content.replace(b"\x8c\x02i8", b"\x8c\x02O8"))
    with pytest.raises(MediaError, match="values of type O8"):
        read_table(tmp_path / "t.pkl", {"uid": int})


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_corrupt_pickle_is_named(tree: Path, share: float) -> None:
    path = tree / SPLITS / "D3_train.pkl"
    content = path.read_bytes()
    replace(path, content[: int(share * len(content))])
    with pytest.raises(UsageError, match=r"D3_train\.pkl is not a readable table"):
        opened(tree)


def test_flipped_bytes_end_in_a_table_or_in_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.pkl"
    content = bytearray(pickle.dumps(FRAME))
    rng = np.random.default_rng(0)
    for _ in range(300):
        broken = bytearray(content)
        broken[rng.integers(len(broken))] = rng.integers(256)
        path.write_bytes(broken)
        try:
            read_table(path, epic_files.COLUMNS)
        except MediaError as error:
            assert str(path) in str(error)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, "text", 5, None])
def test_a_pickle_of_something_else_is_named(tmp_path: Path, value: Any) -> None:
    (tmp_path / "t.pkl").write_bytes(pickle.dumps(value))
    with pytest.raises(MediaError, match="holds no DataFrame"):
        read_table(tmp_path / "t.pkl", {})
