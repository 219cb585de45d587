import pytest

from amorlip.common.errors import one_line, unknown_key


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


def test_a_long_list_of_known_names_is_cut():
    names = [f"model{number:03d}" for number in range(145)]
    message = unknown_key("xyz", names)
    assert "model019" in message and "model020" not in message and message.endswith(", … (145)")
    assert unknown_key("xyz", ["b", "a"]).endswith("known: a, b")
