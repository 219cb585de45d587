import pytest

from amorlip.common.errors import one_line


@pytest.mark.parametrize(
    ("error", "length", "expected"),
    [
        (ValueError("short"), 200, "short"),
        (ValueError(" two\n\n\tlines \r\n"), 200, "two lines"),
        (ValueError(""), 200, "ValueError"),
        (ValueError(" \n"), 200, "ValueError"),
        (MemoryError(), 200, "MemoryError"),
        (ValueError("12345678"), 8, "12345678"),
        (ValueError("123456789"), 8, "12345678…"),
        (OSError(28, "No space left on device", "a/file"), 200, "[Errno 28] No space left on device: 'a/file'"),
    ],
)
def test_an_error_is_one_line_of_limited_length(error, length, expected):
    assert one_line(error, length) == expected
