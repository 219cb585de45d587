"""A user's files are never overwritten or deleted; a folder holds what its source has and nothing else."""

from __future__ import annotations

import json
import os
import shutil

import pytest

from amorlip.common.errors import AmorlipError
from amorlip.common.files import overlap, sha256
from amorlip.config.benchmark import TaskContent, TaskSource
from amorlip.stages import tasks
from amorlip.tasks.provide import provide
from amorlip.tasks.record import TaskRecord
from amorlip.tasks.verify import verified_record
from tests.helpers.hub import Hub

NAMES = ["red", "green", "blue"]


def contents(folder):
    """Every file and link that a user sees in a folder."""
    return {
        path.relative_to(folder).as_posix(): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }


@pytest.fixture
def make(sets):
    def make_set(folder, shards=1, **keys):
        keys = {"names": NAMES, "templates": ["a {c}"], **keys}
        return sets.classification(folder, sets.pictures(6), [n % 3 for n in range(6)], shards=shards, **keys)

    return make_set


def folder_source(path):
    return TaskSource(kind="folder", path=str(path))


def same(mine, work):
    return mine, mine


def spelled_with_dots(mine, work):
    return mine.parent / "x" / ".." / mine.name, mine


def output_is_a_link(mine, work):
    (work / "task").symlink_to(mine)
    return mine, work / "task"


def source_is_a_link(mine, work):
    (work / "link").symlink_to(mine)
    return work / "link", mine


def parent_is_a_link(mine, work):
    (work / "link").symlink_to(mine.parent)
    return work / "link" / mine.name, mine


def output_within_the_source(mine, work):
    return mine, mine / "results" / "task"


def source_within_the_output(mine, work):
    return mine, mine.parent


def a_folder_of_the_output_is_a_link(mine, work):
    (work / "task").mkdir()
    (work / "task" / "test").symlink_to(mine / "test")
    return mine, work / "task"


def a_folder_of_the_source_is_a_link(mine, work):
    (work / "task").mkdir()
    (mine / "test").rename(work / "task" / "test")
    (mine / "test").symlink_to(work / "task" / "test")
    return mine, work / "task"


OVERLAPS = [
    same, spelled_with_dots, output_is_a_link, source_is_a_link, parent_is_a_link, output_within_the_source,
    source_within_the_output, a_folder_of_the_output_is_a_link, a_folder_of_the_source_is_a_link,
]  # fmt: skip


@pytest.mark.parametrize("case", OVERLAPS)
def test_a_source_that_overlaps_with_the_task_is_refused_untouched(case, make, tmp_path):
    mine = make(tmp_path / "data" / "birds")
    (tmp_path / "data" / "x").mkdir()
    (tmp_path / "work").mkdir()
    source, output = case(mine, tmp_path / "work")
    before = contents(tmp_path)
    with pytest.raises(AmorlipError) as caught:
        provide(folder_source(source), output)
    assert "\n" not in str(caught.value) and "elsewhere" in str(caught.value)
    assert contents(tmp_path) == before


def test_a_path_in_other_letters_on_a_disk_that_ignores_case(tmp_path, monkeypatch):
    """Paths are compared by device and inode. Linux disks distinguish case, so a link has the other spelling here."""
    (tmp_path / "birds").mkdir()
    (tmp_path / "BIRDS").symlink_to(tmp_path / "birds")
    assert overlap(tmp_path / "BIRDS", tmp_path / "birds" / "not there yet")
    assert not overlap(tmp_path / "birds", tmp_path / "other")


@pytest.mark.parametrize("kind", ["folder", "emoji", "hub"])
def test_files_in_the_task_that_are_not_ours_are_kept(kind, make, tmp_path, monkeypatch):
    mine = make(tmp_path / "mine")
    output = make(tmp_path / "task", names=["my", "own", "set"])
    (output / "notes.txt").write_text("mine")
    (output / "task.json").write_text('{"mine": 1}')
    before = contents(output)
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    hub.repositories["me/things"] = {
        path.relative_to(mine).as_posix(): path.read_bytes() for path in mine.rglob("*") if path.is_file()
    }
    source = {
        "folder": folder_source(mine),
        "emoji": TaskSource(kind="emoji", corpus="demo", builder="digits"),
        "hub": TaskSource(kind="hub", repository="me/things"),
    }[kind]
    provide(source, output, build=make)
    hub.close()
    assert (output / "classnames.txt").read_text().split() == NAMES
    kept = contents(output / ".set-aside-1")
    assert kept["classnames.txt"] == before["classnames.txt"]
    now = contents(output)
    assert all({**now, **kept}[name] == content for name, content in before.items())


@pytest.mark.parametrize("kind", ["fails", "is missing"])
def test_files_that_are_not_ours_are_kept_at_the_second_attempt_too(kind, make, tmp_path, monkeypatch):
    """The first attempt leaves the folder marked, but the files in it are still the user's."""
    output = make(tmp_path / "task", names=["my", "own", "set"])
    before = contents(output)
    source = TaskSource(kind="hub", repository="me/things")
    mine = make(tmp_path / "mine")
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    files = {path.relative_to(mine).as_posix(): path.read_bytes() for path in mine.rglob("*") if path.is_file()}
    if kind == "fails":
        hub.repositories["me/things"] = {**files, "classnames.txt": b"one\n"}
        with pytest.raises(AmorlipError):
            provide(source, output, content=TaskContent(kind="classification", classes=3))
        (kept,) = output.glob(".set-aside-*")
        assert {**contents(output), **contents(kept)}.items() >= before.items()
    else:
        provide(source, output, allow_missing=True)
        assert {**contents(output)}.items() >= before.items()
    hub.repositories["me/things"] = files
    provide(source, output)
    hub.close()
    assert (output / "classnames.txt").read_text().split() == NAMES
    kept = {name: content for folder in sorted(output.glob(".set-aside-*"), reverse=True)
            for name, content in contents(folder).items()}  # fmt: skip
    assert {**contents(output), **kept}.items() >= before.items()


def test_a_deleted_set_aside_folder_is_not_filled_again(make, tmp_path):
    for name in ("one", "two", "three"):
        provide(folder_source(make(tmp_path / name)), tmp_path / "task")
    shutil.rmtree(tmp_path / "task" / ".set-aside-1")
    kept = contents(tmp_path / "task" / ".set-aside-2")
    provide(folder_source(make(tmp_path / "four")), tmp_path / "task")
    assert contents(tmp_path / "task" / ".set-aside-2") == kept
    assert (tmp_path / "task" / ".set-aside-1").is_dir()


def test_files_of_another_source_are_set_aside(make, tmp_path, capsys):
    """And come back into use with their source."""
    provide(folder_source(make(tmp_path / "large", shards=3)), tmp_path / "task")
    provide(folder_source(make(tmp_path / "small")), tmp_path / "task")
    assert "files of an earlier source" in capsys.readouterr().out
    assert sorted(TaskRecord.read(tmp_path / "task" / "task.json").files) == [
        "classnames.txt", "test/0.tar", "test/nshards.txt", "zeroshot_classification_templates.txt",
    ]  # fmt: skip
    assert (tmp_path / "task" / ".set-aside-1" / "test" / "2.tar").exists()
    provide(folder_source(tmp_path / "large"), tmp_path / "task")
    assert len(list((tmp_path / "task" / "test").glob("*.tar"))) == 3


def test_a_file_that_left_the_source_leaves_the_task(make, tmp_path):
    mine = make(tmp_path / "mine", shards=3)
    provide(folder_source(mine), tmp_path / "task")
    (mine / "test" / "2.tar").unlink()
    (mine / "test" / "nshards.txt").write_text("2\n")
    provide(folder_source(mine), tmp_path / "task")
    assert sorted(path.name for path in (tmp_path / "task" / "test").iterdir()) == ["0.tar", "1.tar", "nshards.txt"]


def test_a_task_made_by_an_earlier_version_is_ours(make, tmp_path):
    provide(folder_source(make(tmp_path / "mine")), tmp_path / "task")
    (tmp_path / "task" / ".files.json").unlink()
    provide(folder_source(tmp_path / "mine"), tmp_path / "task")


def test_what_an_earlier_version_downloaded_is_not_downloaded_again(make, tmp_path, monkeypatch):
    """Snakemake deletes task.json before it runs the stage, and there is no mark. Nothing is left in the way."""
    mine = make(tmp_path / "mine")
    hub = Hub()
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    hub.repositories["me/things"] = {
        path.relative_to(mine).as_posix(): path.read_bytes() for path in mine.rglob("*") if path.is_file()
    }
    provide(TaskSource(kind="hub", repository="me/things"), tmp_path / "task")
    inode = (tmp_path / "task" / "test" / "0.tar").stat().st_ino
    (tmp_path / "task" / "task.json").unlink()
    (tmp_path / "task" / ".files.json").unlink()
    provide(TaskSource(kind="hub", repository="me/things"), tmp_path / "task")
    hub.close()
    assert (tmp_path / "task" / "test" / "0.tar").stat().st_ino == inode
    assert not list((tmp_path / "task").glob(".set-aside-*"))


def test_a_linked_folder_in_the_source(make, tmp_path):
    mine = make(tmp_path / "mine")
    (mine / "test").rename(tmp_path / "elsewhere")
    (mine / "test").symlink_to(tmp_path / "elsewhere")
    (mine / "again").symlink_to(mine)  # a cycle
    provide(folder_source(mine), tmp_path / "task")
    assert "test/0.tar" in TaskRecord.read(tmp_path / "task" / "task.json").files


def test_an_interrupted_task_is_done_again(make, tmp_path, monkeypatch):
    def fails(folder):
        make(folder)
        raise KeyboardInterrupt

    source = TaskSource(kind="emoji", corpus="demo", builder="digits")
    with pytest.raises(KeyboardInterrupt):
        provide(source, tmp_path / "task", build=fails)
    assert not [path for path in (tmp_path / "task").iterdir() if path.name[0] != "."]
    provide(source, tmp_path / "task", build=make)
    assert not (tmp_path / "task" / ".new").exists()


# ---------------------------------------------------------------- contents


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


TEMPLATES = "zeroshot_classification_templates.txt"
FAULTS = {
    "no templates": (lambda folder: (folder / TEMPLATES).unlink(), "is missing"),
    "empty templates": (write(TEMPLATES, ""), "is empty"),
    "a template without its field": (write(TEMPLATES, "a {c}\na thing\n"), "'a thing' lacks the field {c}"),
    "no names": (write("classnames.txt", "\n"), "is empty"),
    "a blank name": (write("classnames.txt", "red\n \nblue\n"), "line 2 is empty"),
    "equal names": (write("classnames.txt", "red\nblue\nred\n"), "lines 1 and 3 have the same class name 'red'"),
    "names equal to the tokenizer": (write("classnames.txt", "hot dog\nblue\nHot  Dog\n"), "lines 1 and 3"),
    "a label out of range": (write("classnames.txt", "red\nblue\n"), "the label 2 is not one of the 2 classes"),
    "no shards": (lambda folder: (folder / "test" / "0.tar").unlink(), "0.tar to 0.tar"),
    "a wrong number of shards": (write("test/nshards.txt", "2\n"), "0.tar to 1.tar"),
    "no number of shards": (lambda folder: (folder / "test" / "nshards.txt").unlink(), "number of shards"),
    "a damaged shard": (write("test/0.tar", "?"), "0.tar"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_faulty_contents_are_refused_before_any_training(name, make, tmp_path):
    mine = make(tmp_path / "mine")
    spoil, words = FAULTS[name]
    spoil(mine)
    with pytest.raises(AmorlipError) as caught:
        provide(folder_source(mine), tmp_path / "task")
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "task" / "task.json").exists()


EXPECTED = {
    "samples": ({"samples": 7}, "has 6 samples, the benchmark expects 7"),
    "classes": ({"classes": 4}, "has 3 classes, the benchmark expects 4"),
    "metadata": ({"metadata": ["region"]}, "no metadata"),
    "retrieval": ({"kind": "retrieval"}, "has no text"),
    "association": ({"kind": "association"}, "has no text"),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_contents_that_the_benchmark_does_not_expect(name, make, tmp_path):
    keys, words = EXPECTED[name]
    settings = {"kind": "folder", "path": str(make(tmp_path / "mine")), "content": {"kind": "classification", **keys}}
    with pytest.raises(AmorlipError, match=words):
        tasks.run(settings, None, tmp_path / "task", allow_missing=False)


def test_equal_names_of_a_published_set_are_a_warning(make, tmp_path, capsys):
    """ImageNet's list has two pairs, so an expected number of classes that fits is taken as consent."""
    mine = make(tmp_path / "mine", names=["missile", "cat", "missile"])
    provide(folder_source(mine), tmp_path / "task", content=TaskContent(kind="classification", classes=3))
    assert "warning: " in (text := capsys.readouterr().err) and "lines 1 and 3" in text


def test_a_byte_order_mark_is_not_part_of_a_name(make, tmp_path):
    mine = make(tmp_path / "mine")
    (mine / "classnames.txt").write_bytes("\ufeffred\r\ngreen\r\nblue\r\n".encode())
    provide(folder_source(mine), tmp_path / "task")
    from amorlip.tasks.read import open_classification

    assert open_classification(tmp_path / "task", TaskContent(kind="classification")).names == NAMES


@pytest.mark.parametrize("kind", ["retrieval", "association"])
def test_faults_of_other_kinds(kind, sets, tmp_path):
    if kind == "retrieval":
        sets.retrieval_archive(tmp_path / "mine", sets.pictures(2), [["one"], ["two"]])
        settings = {"kind": "retrieval", "samples": 3}
    else:
        pictures = dict(zip("abcde", sets.pictures(5), strict=True))
        sets.association_archive(tmp_path / "mine", pictures, [("owl", list("abcde"), ["a"])])
        settings = {"kind": "association", "samples": 3}
    source = folder_source(tmp_path / "mine")
    provide(source, tmp_path / "unknown")  # the layout gives the kind
    with pytest.raises(AmorlipError, match="the benchmark expects 3"):
        provide(source, tmp_path / "task", content=TaskContent(**settings))


# ---------------------------------------------------------------- checksums


CHANGES = {
    "other bytes": lambda path: path.write_bytes(path.read_bytes() + b" "),
    "other bytes of equal size": lambda path: path.write_bytes(b"x" + path.read_bytes()[1:]),
    "deleted": lambda path: path.unlink(),
    "another set's": lambda path: path.write_bytes(b"0" * 10_240),
}


@pytest.mark.parametrize("file", ["classnames.txt", "test/0.tar", "test/nshards.txt", TEMPLATES])
@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_since_its_record(change, file, make, tmp_path):
    mine = make(tmp_path / "mine")
    provide(folder_source(mine), tmp_path / "task")
    CHANGES[change](mine / file)
    with pytest.raises(AmorlipError) as caught:
        verified_record(tmp_path / "task")
    assert str(tmp_path / "task" / file) in str(caught.value) and "stage `tasks`" in str(caught.value)


@pytest.mark.parametrize("marked", [True, False])
def test_unchanged_files_are_read_only_if_their_times_changed(marked, make, tmp_path, monkeypatch):
    provide(folder_source(make(tmp_path / "mine")), tmp_path / "task")
    if not marked:
        (tmp_path / "task" / ".files.json").unlink()
    os.utime(tmp_path / "mine" / "classnames.txt", ns=(1, 1))
    read = []
    monkeypatch.setattr("amorlip.tasks.verify.sha256", lambda path: read.append(path.name) or sha256(path))
    verified_record(tmp_path / "task")
    assert len(read) == (1 if marked else 4)


def test_a_missing_set_has_nothing_to_verify(tmp_path):
    provide(folder_source(tmp_path / "nowhere"), tmp_path / "task", allow_missing=True)
    assert "nowhere" in str(verified_record(tmp_path / "task").missing)
    assert json.loads((tmp_path / "task" / "task.json").read_text())["source"]["kind"] == "folder"


def test_a_folder_without_a_record(make, tmp_path):
    with pytest.raises(AmorlipError, match="has no task.json.*amorlip tasks --settings"):
        verified_record(make(tmp_path / "raw"))
