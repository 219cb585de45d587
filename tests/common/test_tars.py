"""Shards are read as webdataset reads them."""

from __future__ import annotations

import io
import random
import tarfile

import pytest
import webdataset

from amorlip.common.errors import AmorlipError
from amorlip.common.tars import samples

NAMES = [
    "./a.png", "./a.cls", "b/c.d/e.PNG", "b/c.d/e.seg.json", "b/c.d/e", ".hidden", "f.png", "f.cls", "\u00e9.txt",
    f"{'long/' * 30}name.png", f"{'long/' * 30}name.cls", f"{'x' * 120}.txt", "g.npy", "a.png", "k.x y.txt",
]  # fmt: skip


def write(path, names, form, folders=("b",)):
    random.seed(1)
    with tarfile.open(path, "w", format=form) as tar:
        for name in folders:
            folder = tarfile.TarInfo(name)
            folder.type = tarfile.DIRTYPE
            tar.addfile(folder)
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = random.choice([0, 1, 511, 512, 513, 5000])
            tar.addfile(info, io.BytesIO(random.randbytes(info.size)))


def by_webdataset(path):
    pipeline = webdataset.DataPipeline(webdataset.SimpleShardList([str(path)]), webdataset.tarfile_to_samples())
    return [
        (sample["__key__"], {key: value for key, value in sample.items() if not key.startswith("__")})
        for sample in pipeline
    ]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("length", [0, 1, 9, len(NAMES)])
def test_the_same_samples_as_webdatasets(tmp_path, form, length):
    names = [name for name in NAMES[:length] if form != tarfile.USTAR_FORMAT or len(name) < 100]
    write(tmp_path / "0.tar", names, form)
    found = [
        (sample.key, {ending: sample.read(ending) for ending in sample.members})
        for sample in samples(tmp_path / "0.tar")
    ]
    assert found == by_webdataset(tmp_path / "0.tar")


def test_contents_can_be_read_after_the_last_sample(tmp_path):
    write(tmp_path / "0.tar", ["a.png", "b.png", "c.png"], tarfile.USTAR_FORMAT)
    found = list(samples(tmp_path / "0.tar"))
    assert [(sample.key, {"png": sample.read("png")}) for sample in reversed(found)] == by_webdataset(
        tmp_path / "0.tar"
    )[::-1]


def test_links_are_no_files(tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        link = tarfile.TarInfo("a.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo("a.cls"))
    assert [list(sample.members) for sample in samples(tmp_path / "0.tar")] == [["cls"]]


@pytest.mark.parametrize("folders", [(), ("b",)])
@pytest.mark.parametrize("length", [0, 100, 511, 700, 1024, 3000])
def test_a_shard_that_is_cut(tmp_path, length, folders):
    path = tmp_path / "0.tar"
    write(path, ["a.png", "b.png", "c.png"], tarfile.USTAR_FORMAT, folders)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(AmorlipError, match="0.tar is not a whole tar file"):
        list(samples(path))


@pytest.mark.parametrize("folders", [(), ("b",)])
def test_a_damaged_header(tmp_path, folders):
    path = tmp_path / "0.tar"
    write(path, ["a.png", "b.png"], tarfile.USTAR_FORMAT, folders)
    data = bytearray(path.read_bytes())
    data[data.index(b"b.png") + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(AmorlipError, match="0.tar is not a whole tar file"):
        list(samples(path))
