"""Shards are read as webdataset reads them."""

from __future__ import annotations

import io
import random
import tarfile
import tracemalloc
from contextlib import suppress

import pytest
import webdataset

from amorlip.common.errors import AmorlipError
from amorlip.common.tars import samples
from tests.helpers.bounds import bounded

FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
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


def by_us(path):
    return [(sample.key, {ending: sample.read(ending) for ending in sample.members}) for sample in samples(path)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("length", [0, 1, 9, len(NAMES)])
def test_the_same_samples_as_webdatasets(tmp_path, form, length):
    names = [name for name in NAMES[:length] if form != tarfile.USTAR_FORMAT or len(name) < 100]
    write(tmp_path / "0.tar", names, form)
    assert by_us(tmp_path / "0.tar") == by_webdataset(tmp_path / "0.tar")


PAIRS = [[f"{{0}}{n}.jpg", f"{{0}}{n}.txt", f"{{0}}{n}.json"] for n in range(3)]
PREFIXES = ["", "./", "a/", "./a/b/", "a.b/", "../", "/abs/", "\u00e9 \u00e9/", "__a__/", "a/__b__/"]
OTHERS = [
    "README", "README.md", ".DS_Store", "./.DS_Store", "._{0}.jpg", "LICENSE.txt", "{0}.", "{0}", "a.b/c", "__meta__",
    "__meta__.json", "__a__/x.txt", "x__b__.txt", "{0}.JPG.bak", "{0}.seg.png", "..", "a..b.txt",
    "{0}" * 60 + ".md", "\udcff.txt",
]  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_other_files_at_any_place(tmp_path, form, prefix):
    """Before, inside and after the pairs, each alone: what WebDataset makes of it is what we make of it."""
    for number, other in enumerate(OTHERS):
        for place in range(8):
            names = [name.format(prefix) for pair in PAIRS for name in pair]
            names.insert(place, other.format(f"{place // 3}"))
            if form == tarfile.USTAR_FORMAT:
                names = [name for name in names if len(name.encode(errors="surrogateescape")) < 100]
            path = tmp_path / f"{number}-{place}.tar"
            write(path, names, form, folders=(prefix,) if prefix else ())
            assert by_us(path) == by_webdataset(path), names


@pytest.mark.parametrize("prefix", ["", "./", "a/", "./a/b/"])
def test_hidden_files_in_a_folder_do_not_tear_pairs_apart(tmp_path, prefix):
    """As macOS writes them next to each file. In a folder WebDataset takes them for files of a sample `a/`."""
    folder, slash, _ = prefix.rpartition("/")
    names = [name.format(prefix) for pair in PAIRS for name in pair]
    mac = [each for name in names for each in (f"{folder}{slash}._{name.rpartition('/')[2]}", name)]
    write(tmp_path / "0.tar", [f"{prefix}.DS_Store", *mac], tarfile.PAX_FORMAT)
    assert [(key, list(members)) for key, members in by_us(tmp_path / "0.tar")] == [
        (f"{prefix}{n}", ["jpg", "txt", "json"]) for n in range(3)
    ]


def test_a_repeated_name_starts_another_sample(tmp_path):
    """WebDataset raises; OpenCLIP's grouping, as ours, keeps the second file away from the first one's caption."""
    write(tmp_path / "0.tar", ["a.jpg", "a.txt", "a.JPG", "a.txt"], tarfile.USTAR_FORMAT)
    assert [(sample.key, list(sample.members)) for sample in samples(tmp_path / "0.tar")] == [("a", ["jpg", "txt"])] * 2


@pytest.mark.parametrize("headers", [{}, {"mtime": "1.5"}, {"path": "b.jpg"}, {"comment": "b.jpg"}, {"size": "3"}])
def test_pax_records(tmp_path, headers):
    """img2dataset's writer puts one with the time in front of every file; others rename the file."""
    with tarfile.open(tmp_path / "0.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        for name in ("a.jpg", "a.txt"):
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = 3, headers
            tar.addfile(info, io.BytesIO(name[2:].encode()))
            headers = {}
    assert by_us(tmp_path / "0.tar") == by_webdataset(tmp_path / "0.tar")


@pytest.mark.parametrize("size", [b"-0000000777", b"77777777777"])
def test_a_size_that_leads_out_of_the_file(tmp_path, size):
    """Backwards, a reader would never end."""
    write(tmp_path / "0.tar", ["a.jpg", "b.jpg"], tarfile.USTAR_FORMAT, folders=())
    data = bytearray((tmp_path / "0.tar").read_bytes())
    header = data.index(b"b.jpg")
    data[header + 124 : header + 135] = size
    data[header + 148 : header + 156] = b" " * 8
    data[header + 148 : header + 156] = b"%06o\0 " % sum(data[header : header + 512])
    (tmp_path / "0.tar").write_bytes(data)
    with pytest.raises(AmorlipError, match=r"0.tar cannot be read \(it ends within b.jpg\)"):
        list(samples(tmp_path / "0.tar"))


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
    with pytest.raises(AmorlipError, match="0.tar cannot be read"):
        list(samples(path))


@pytest.mark.parametrize("folders", [(), ("b",)])
def test_an_emptied_header_is_not_the_end(tmp_path, folders):
    """The files after it would be lost silently."""
    path = tmp_path / "0.tar"
    write(path, ["a.png", "b.png", "c.png"], tarfile.USTAR_FORMAT, folders)
    data = bytearray(path.read_bytes())
    header = data.index(b"b.png")
    data[header : header + 512] = bytes(512)
    path.write_bytes(data)
    with pytest.raises(AmorlipError, match=rf"the header at byte {header} is empty, but more files follow"):
        list(samples(path))


@pytest.mark.parametrize("folders", [(), ("b",)])
def test_a_damaged_header(tmp_path, folders):
    path = tmp_path / "0.tar"
    write(path, ["a.png", "b.png"], tarfile.USTAR_FORMAT, folders)
    data = bytearray(path.read_bytes())
    data[data.index(b"b.png") + 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(AmorlipError, match="0.tar cannot be read"):
        list(samples(path))


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", [b"0", b"5", b"x", b"L", b"S", b"Z"])
def test_a_negative_size_is_refused(tmp_path, kind):
    """In base 256: the reader would go back to what it has read, for ever."""
    info = tarfile.TarInfo("a.png")
    info.type, info.size = kind, -1024
    block = info.tobuf(tarfile.GNU_FORMAT)
    plain = tarfile.TarInfo("b.png").tobuf(tarfile.USTAR_FORMAT)
    (tmp_path / "0.tar").write_bytes(plain + block + bytes(2048))
    with pytest.raises(AmorlipError, match=r"0\.tar cannot be read"):
        by_us(tmp_path / "0.tar")


def by_hand(*members):
    """A tar file of (name, type, size, content), whatever they say."""
    data = []
    for name, kind, size, content in members:
        info = tarfile.TarInfo(name)
        info.type, info.size = kind, size
        data += [info.tobuf(tarfile.GNU_FORMAT), content, bytes(-len(content) % 512)]
    return b"".join([*data, bytes(1024)])


@pytest.mark.timeout(20)
@pytest.mark.parametrize("kind", [b"x", b"g", b"X", b"L", b"K"])
def test_a_header_with_large_records(tmp_path, kind):
    """They would be read whole."""
    path = tmp_path / "0.tar"
    path.write_bytes(by_hand(("n", kind, 1 << 31, b"")))
    with path.open("rb+") as file:
        file.truncate(1 << 32)  # sparse
    with bounded(mib=200), pytest.raises(AmorlipError, match=r"records of 2147483648 bytes, more than 1048576"):
        list(samples(path))


@pytest.mark.parametrize(
    ("kind", "content"),
    [
        (b"x", b"30 GNU.sparse.size=notanumber\n"),
        (b"x", b"17 size=notanum\n\n"),
        (b"x", b"99999999999999999999 path=x\n"),
        (b"x", b"11 path=\xff\xfe\n15 hdrcharset=?\n"),
        (b"L", b"\xff" * 600),
    ],
)
def test_damaged_records(tmp_path, kind, content):
    """One line, or what tarfile makes of them."""
    path = tmp_path / "0.tar"
    path.write_bytes(by_hand(("n", kind, len(content), content), ("a.png", b"0", 3, b"abc")))
    with suppress(AmorlipError):
        by_us(path)


def test_a_chain_of_headers(tmp_path):
    path = tmp_path / "0.tar"
    path.write_bytes(by_hand(*[("n", b"L", 5, b"a.png")] * 5000, ("a.png", b"0", 3, b"abc")))
    with pytest.raises(AmorlipError, match=r"0\.tar cannot be read \(a header before byte \d+ is damaged"):
        by_us(path)


def test_a_sample_of_too_many_files(tmp_path):
    (tmp_path / "0.tar").write_bytes(by_hand(*[(f"a.{n}", b"0", 0, b"") for n in range(1001)]))
    with pytest.raises(AmorlipError, match="more than 1000 files"):
        by_us(tmp_path / "0.tar")


def test_a_long_name_in_a_message(tmp_path):
    """A name may have a megabyte; a message has one line."""
    name = b"x" * 50_000 + b".png"
    path = tmp_path / "0.tar"
    path.write_bytes(by_hand(("n", b"L", len(name), name), ("n", b"0", 3, b"abc")))
    (sample,) = samples(path)
    with pytest.raises(AmorlipError) as caught:
        sample.read("png", 2)
    assert len(str(caught.value)) < 500


def test_memory_does_not_grow_with_the_number_of_members(tmp_path):
    """tarfile remembers every member."""
    path = tmp_path / "0.tar"
    path.write_bytes(by_hand(("n", b"L", 5, b"a.png"), *[("d", b"5", 0, b"")] * 3000))
    tracemalloc.start()
    try:
        list(samples(path))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # tarfile's own list needs 2 MiB
    finally:
        tracemalloc.stop()
