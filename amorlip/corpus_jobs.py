"""Which corpora a study needs, and which of their splits: the jobs of `artwork`, `urls`, `download` and `shards`."""

from __future__ import annotations

from amorlip.study import Study


def splits(study: Study) -> list[tuple[str, str]]:
    """(corpus, split) of every split that is downloaded."""
    tasks = study.benchmark.tasks.values()
    found = {(run.recipe.corpus, "train") for _, run in study.runs}
    found |= {(str(task.source.corpus), "validation") for task in tasks if task.source.kind == "validation"}
    return sorted(found)


def rendered(study: Study) -> list[str]:
    """Corpora that are rendered from packages of drawings."""
    return [name for name, corpus in study.corpora.items() if corpus.is_rendered]


def listed(study: Study) -> list[str]:
    """Corpora with a list of addresses: all but mirrors."""
    return sorted({name for name, _ in splits(study) if study.corpora[name].source != "mirror"})
