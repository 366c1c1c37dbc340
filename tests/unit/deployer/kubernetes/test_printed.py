"""What several pods printed, in a text of limited size."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.deployer.kubernetes.printed import joined, shares

sizes = st.lists(st.integers(0, 200), max_size=8)


@given(sizes, st.integers(0, 500))
def test_nobody_gets_more_than_it_wants_or_less_than_another_that_is_cut(wanted: list[int], room: int) -> None:
    given_ = shares(wanted, room)
    assert sum(given_) <= room
    cut = [got for want, got in zip(wanted, given_, strict=True) if got < want]
    assert all(got <= want for want, got in zip(wanted, given_, strict=True))
    assert not cut or min(cut) >= max(given_) - 1, "what is indivisible goes to one of them"
    assert not cut or sum(given_) > room - len(wanted), "no room is left unused"


def test_a_pod_that_prints_much_hides_no_other() -> None:
    loud = b"".join(b"call %d\n" % number for number in range(1000))
    said = joined([("quiet", b"begins\n"), ("loud", loud)], 60).decode()
    assert said == "== quiet\nbegins\n== loud\ncall 996\ncall 997\ncall 998\ncall 999\n"
    assert joined([("loud", loud)], 17) == b"== loud\ncall 999\n"


def test_what_fits_is_whole() -> None:
    assert joined([("a", b"1\n"), ("b", b"")], 100) == b"== a\n1\n== b\n"
    assert joined([], 100) == b""
    assert joined([("a", b"1\n")], 0) == b""


def test_a_line_that_is_longer_than_the_room_is_cut() -> None:
    assert joined([("a", b"x" * 50 + b"\n")], 10) == b"== a\nxxxx\n"


def test_the_last_bytes_are_kept_where_names_do_not_fit() -> None:
    assert joined([("a", b"1\n"), ("b", b"2\n")], 3) == b"\n2\n"
    assert joined([("a", b"1\n"), ("b", b"12345678\n")], 5) == b"5678\n"


@given(st.lists(st.tuples(st.sampled_from(["a", "bc"]), st.binary(max_size=40)), max_size=4), st.integers(0, 100))
def test_it_is_never_longer_than_the_limit(printed: list[tuple[str, bytes]], limit: int) -> None:
    assert len(joined(printed, limit)) <= limit
