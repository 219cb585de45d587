"""The artwork of the miniature icon sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from amorlip.icons import artwork as icons
from tests.helpers.icon_sets import icon_source, write_package


@pytest.fixture(scope="module")
def artwork(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder; not to be changed."""
    folder = tmp_path_factory.mktemp("artwork")
    write_package(folder)
    icons.build_artwork(icon_source(), folder)
    return folder
