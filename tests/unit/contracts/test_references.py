"""Algorithm references: every published spelling, and what each of them means."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.contracts.catalog import Artifact, Callability, Language, Revision
from libs.common.contracts.references import NAME, InvalidReference, Reference, parse, resolve, semantic

names = st.from_regex(NAME, fullmatch=True)
numbers = st.integers(0, 999_999_999)
triples = st.tuples(numbers, numbers, numbers)
small = st.integers(0, 3)
prefixes = st.sampled_from(["", "algo://", "algo:/", "/"])
endings = st.sampled_from(["", "/"])
ID = "5f0b6c1e-7d1f-4f5a-9b58-0b8c3a1d2e4f"


def revision(
    number: str | None = None, callability: Callability = Callability.PUBLIC, commit: str | None = None
) -> Revision:
    return Revision(
        id=uuid4(),
        commit=commit or (uuid4().hex * 2)[:40],
        version=number,
        callability=callability,
        language=Language.PYTHON,
        artifact=Artifact(source="s", digest="d"),
        built_at=datetime.now(UTC),
    )


BUILT = [
    revision("0.1.0", Callability.PRIVATE),
    revision("1.0.0"),
    revision("1.0.1"),
    revision("1.2.0"),
    revision("1.10.0"),
    revision("2.0.0", Callability.PRIVATE),
    revision("2.1.0", Callability.PRIVATE),
    revision(commit="a" * 40),
]


def version(text: str, *, insider: bool) -> str | None:
    found = resolve(text, BUILT, insider=insider)
    return found.version if found else None


class TestParsing:
    @given(owner=names, name=names, before=prefixes, after=endings)
    def test_owner_and_name_stand_with_any_prefix_and_a_slash_at_the_end(
        self, owner: str, name: str, before: str, after: str
    ) -> None:
        assert parse(f"{before}{owner}/{name}{after}") == Reference(f"{owner}/{name}")

    @given(owner=names, name=names, before=prefixes, version=st.from_regex(r"[0-9a-z.*]{1,20}", fullmatch=True))
    def test_the_third_part_is_the_version(self, owner: str, name: str, before: str, version: str) -> None:
        parsed = parse(f"{before}{owner}/{name}/{version}")
        assert (parsed.algorithm, parsed.version, parsed.is_id) == (f"{owner}/{name}", version, False)

    @given(algorithm_id=st.uuids(), version=st.sampled_from(["", "1.2.3", "latest"]), before=prefixes)
    def test_an_id_stands_in_the_place_of_owner_and_name(self, algorithm_id: UUID, version: str, before: str) -> None:
        parsed = parse(f"{before}{str(algorithm_id).upper()}/{version}")
        assert (parsed.algorithm, parsed.version, parsed.is_id) == (str(algorithm_id), version, True)

    @given(owner=names, name=names, version=st.sampled_from(["", "1.2.3", "latest"]))
    def test_the_text_of_a_reference_parses_to_it(self, owner: str, name: str, version: str) -> None:
        reference = Reference(f"{owner}/{name}", version)
        assert parse(str(reference)) == reference

    @given(text=st.text(max_size=60))
    def test_any_text_is_a_reference_or_is_refused_with_a_reason(self, text: str) -> None:
        parsed: Reference | None = None
        reason = ""
        try:
            parsed = parse(text)
        except InvalidReference as refused:
            reason = str(refused)
        legal = parsed and (parsed.is_id or all(NAME.fullmatch(part) for part in parsed.algorithm.split("/")))
        assert legal if parsed else reason

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "no algorithm reference"),
            ("joe", "no algorithm reference"),
            ("algo://joe", "no algorithm reference"),
            ("1joe/echo", "'1joe' is not a legal name"),
            ("joe/e-cho", "'e-cho' is not a legal name"),
            ("joe/" + "a" * 31, "is not a legal name"),
            ("joe/echo/" + "9" * 65, "the version has 65 characters, and at most 64 are legal"),
            (f"{ID}/" + "9" * 60_000, "the version has 60000 characters"),
            ("joe/echo/1.0.0/more", "more parts"),
            (f"{ID}/1.0.0/more", "more parts"),
            (ID.replace("-", ""), "no algorithm reference"),
            (f"{{{ID}}}", "no algorithm reference"),
        ],
    )
    def test_what_is_no_reference_is_refused(self, text: str, reason: str) -> None:
        with pytest.raises(InvalidReference, match=reason):
            parse(text)


class TestResolving:
    @pytest.mark.parametrize("insider", [True, False])
    @pytest.mark.parametrize(
        ("asked", "found"),
        [
            ("", "1.10.0"),
            ("latest", "1.10.0"),
            ("1.0.0", "1.0.0"),
            ("01.0.0", "1.0.0"),
            ("1.0", "1.0.1"),
            ("1.0.*", "1.0.1"),
            ("1.0.x", "1.0.1"),
            ("1.*", "1.10.0"),
            ("1", "1.10.0"),
            ("2.0", None),
            ("2.*", None),
            ("3.0.0", None),
            ("1.1.0", None),
            ("nonsense", None),
            ("1.x.3", None),
            ("*", None),
        ],
    )
    def test_public_versions_are_everybodys(self, asked: str, found: str | None, insider: bool) -> None:
        assert version(asked, insider=insider) == found

    def test_a_private_version_is_for_insiders_by_its_number_and_as_latest_private(self) -> None:
        assert version("2.0.0", insider=True) == "2.0.0"
        assert version("latestPrivate", insider=True) == "2.1.0"
        assert version("2.0.0", insider=False) is None
        assert version("latestPrivate", insider=False) is None

    def test_a_commit_is_for_insiders_published_or_not(self) -> None:
        assert resolve("A" * 40, BUILT, insider=True) is BUILT[-1]
        assert resolve(BUILT[1].commit, BUILT, insider=True) is BUILT[1]
        assert resolve(BUILT[1].commit, BUILT, insider=False) is None
        assert resolve("b" * 40, BUILT, insider=True) is None

    def test_the_newest_build_of_a_commit_counts(self) -> None:
        twice = [revision(commit="c" * 40), revision(commit="c" * 40)]
        assert resolve("c" * 40, twice, insider=True) is twice[1]

    def test_nothing_built_is_nothing_found(self) -> None:
        for asked in ("", "latest", "latestPrivate", "1.0.0", "1.*", "a" * 40):
            assert resolve(asked, [], insider=True) is None

    @given(published=st.lists(st.tuples(st.tuples(small, small, small), st.booleans()), max_size=12))
    def test_outsiders_only_ever_get_the_newest_public_version(
        self, published: list[tuple[tuple[int, int, int], bool]]
    ) -> None:
        built = [
            revision(".".join(map(str, number)), Callability.PUBLIC if public else Callability.PRIVATE)
            for number, public in published
        ]
        public = [number for number, is_public in published if is_public]
        found = resolve("latest", built, insider=False)
        assert (semantic(found.version) if found else None) == max(public, default=None)
        for major in range(4):
            matching = [number for number in public if number[0] == major]
            found = resolve(f"{major}.*", built, insider=False)
            assert (semantic(found.version) if found else None) == max(matching, default=None)

    @given(wanted=st.text(max_size=45))
    def test_no_version_text_makes_resolving_fail(self, wanted: str) -> None:
        for insider in (True, False):
            found = resolve(wanted, BUILT, insider=insider)
            assert found is None or insider or found.callability is Callability.PUBLIC


class TestNumbers:
    @given(number=triples)
    def test_a_number_is_read_back(self, number: tuple[int, int, int]) -> None:
        assert semantic(".".join(map(str, number))) == number

    @given(one=triples, other=triples)
    def test_numbers_sort_as_numbers(self, one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
        texts = [".".join(map(str, number)) for number in (one, other)]
        assert sorted(texts, key=semantic) == [".".join(map(str, n)) for n in sorted((one, other))]

    @pytest.mark.parametrize(
        "text", [None, "", "1", "1.2", "1.2.3.4", "1.2.x", "v1.2.3", "1.2.-3", "1" * 10 + ".0.0"]
    )
    def test_anything_else_is_no_number(self, text: str | None) -> None:
        with pytest.raises(ValueError, match="MAJOR"):
            semantic(text)
