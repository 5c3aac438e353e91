"""Downloading checkpoints, from a server on this machine."""

import hashlib
import io
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from file_server import FileServer, serving

from benchmark.backbones import download
from benchmark.backbones.official import Checkpoint
from mmdg_common import UsageError

CONTENT = bytes(range(256)) * 4000
NAME = f"net-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


@pytest.fixture(autouse=True)
def no_proxy_and_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def server() -> Iterator[FileServer]:
    with serving() as server:
        server.files[NAME] = CONTENT
        yield server


def test_a_file_is_fetched_whole_into_the_first_home(server: FileServer, tmp_path: Path) -> None:
    homes = (tmp_path / "mine", tmp_path / "data")
    path = download.fetch(Checkpoint(server.url(NAME)), homes)
    assert path == tmp_path / "mine" / "checkpoints" / NAME
    assert path.read_bytes() == CONTENT
    assert [p.name for p in path.parent.iterdir()] == [NAME]


def test_a_file_that_is_there_under_either_name_is_not_fetched_again(
    server: FileServer, tmp_path: Path
) -> None:
    stream = io.BytesIO()
    torch.save({"state_dict": {"a": torch.zeros(1)}}, stream)
    server.files["H.pth"] = stream.getvalue()
    checkpoint = Checkpoint(server.url("H.pth"), used_as="audio.pth")
    path = download.fetch(checkpoint, [tmp_path])
    assert path.name == "audio.pth"
    path = path.rename(path.with_name("H.pth"))
    assert download.fetch(checkpoint, [tmp_path]) == path
    assert len(server.ranges) == 1


def test_a_download_that_was_cut_off_goes_on_where_it_stopped(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = Checkpoint(server.url(NAME))
    server.hang_up_after = 300_000
    with pytest.raises(UsageError, match=r"cut off after 300000 of 1024000 bytes\. Run the same"):
        download.fetch(checkpoint, [tmp_path])
    assert not (tmp_path / "checkpoints" / NAME).exists()
    with pytest.raises(UsageError, match="cut off after 600000 of 1024000 bytes"):
        download.fetch(checkpoint, [tmp_path])
    server.hang_up_after = None
    assert download.fetch(checkpoint, [tmp_path]).read_bytes() == CONTENT
    assert server.ranges == [None, "bytes=300000-", "bytes=600000-"]
    assert f"downloading {NAME} from byte 600000 ..." in capsys.readouterr().err


def test_a_server_without_ranges_sends_the_whole_file_again(
    server: FileServer, tmp_path: Path
) -> None:
    part = tmp_path / "checkpoints" / f"{NAME}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT[:1000])
    server.knows_ranges = False
    assert download.fetch(Checkpoint(server.url(NAME)), [tmp_path]).read_bytes() == CONTENT


def test_a_partial_file_that_lacks_nothing_is_taken(server: FileServer, tmp_path: Path) -> None:
    part = tmp_path / "checkpoints" / f"{NAME}.part"
    part.parent.mkdir()
    part.write_bytes(CONTENT)
    assert download.fetch(Checkpoint(server.url(NAME)), [tmp_path]).read_bytes() == CONTENT


def test_another_sha256_than_the_name_says_is_named_and_the_file_deleted(
    server: FileServer, tmp_path: Path
) -> None:
    server.files["net-0123abcd.pth"] = CONTENT
    found = hashlib.sha256(CONTENT).hexdigest()[:8]
    with pytest.raises(UsageError, match=f"begins with {found}, not with 0123abcd. It is deleted"):
        download.fetch(Checkpoint(server.url("net-0123abcd.pth")), [tmp_path])
    assert not list((tmp_path / "checkpoints").iterdir())


def test_a_file_that_is_there_and_is_not_the_official_one_is_named_and_kept(
    server: FileServer, tmp_path: Path
) -> None:
    path = tmp_path / "checkpoints" / NAME
    path.parent.mkdir()
    path.write_bytes(b"half")
    with pytest.raises(UsageError, match=f"{NAME} is not the official file.*Delete .*{NAME}"):
        download.fetch(Checkpoint(server.url(NAME)), [tmp_path])
    assert path.exists() and not server.ranges


def test_a_page_instead_of_a_checkpoint_is_not_kept(server: FileServer, tmp_path: Path) -> None:
    server.files["H.pth"] = b"<html>log in first</html>"
    with pytest.raises(UsageError, match=r"H\.pth\.part is not a .*It is deleted"):
        download.fetch(Checkpoint(server.url("H.pth")), [tmp_path])
    assert not list((tmp_path / "checkpoints").iterdir())


def test_404_and_no_network_name_the_address_and_the_place(
    server: FileServer, tmp_path: Path
) -> None:
    url, place = server.url("gone-01234567.pth"), tmp_path / "checkpoints" / "gone-01234567.pth"
    with pytest.raises(UsageError, match="404 Not Found") as refused:
        download.fetch(Checkpoint(url), [tmp_path])
    with socket.socket() as unused:  # bound, but nobody listens
        unused.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{unused.getsockname()[1]}/gone-01234567.pth"
        with pytest.raises(UsageError, match=r"cannot be reached .*refused.*Check") as unreached:
            download.fetch(Checkpoint(closed), [tmp_path])
    for error, address in ((refused, url), (unreached, closed)):
        assert address in str(error.value) and str(place) in str(error.value)
        assert "\n" not in str(error.value)
