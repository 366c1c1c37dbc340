"""Settings of algorithms."""

from __future__ import annotations

from typing import Any, ClassVar

import pytest
from pydantic import ValidationError

from libs.common.contracts.catalog import Language, Scaling
from libs.common.problems import Invalid
from services.registry import environments
from services.registry.algorithm_settings import ScalingChange, SettingsChange, changed, created, language_of, scaled

REQUIRED: dict[str, Any] = {
    "source_visibility": "closed",
    "license": "apl",
    "network_access": "full",
    "pipeline_enabled": True,
}


def asked(**members: Any) -> SettingsChange:
    return SettingsChange.model_validate(members)


class TestCreation:
    def test_the_settings_are_kept_as_asked(self) -> None:
        language, settings, scaling = created(asked(**REQUIRED, language="python3-1", environment="cpu"))
        assert language is Language.PYTHON
        assert settings == {**REQUIRED, "language": "python3-1", "environment": "cpu"}
        assert scaling == Scaling()

    @pytest.mark.parametrize("name", sorted(REQUIRED))
    def test_a_missing_member_is_named(self, name: str) -> None:
        rest = {key: value for key, value in REQUIRED.items() if key != name}
        with pytest.raises(Invalid, match=f"settings.{name}: required") as refused:
            created(asked(**rest, language="python3-1"))
        assert refused.value.code == 3005

    @pytest.mark.parametrize(
        ("how", "language"),
        [
            ({"language": "python3-1"}, Language.PYTHON),
            ({"language": "python3"}, Language.PYTHON),
            ({"language": "javascript"}, Language.JAVASCRIPT),
            ({"language": "pipe"}, Language.PIPE),
            ({"package_set": "python37"}, Language.PYTHON),
            ({"package_set": "node10"}, Language.JAVASCRIPT),
            *(({"algorithm_environment": str(environments.environment_id(one))}, one) for one in Language),
        ],
    )
    def test_the_language_is_chosen_in_one_of_three_ways(self, how: dict[str, str], language: Language) -> None:
        assert created(asked(**REQUIRED, **how))[0] is language

    @pytest.mark.parametrize(
        "how",
        [
            {"language": "scala"},
            {"language": "python2-langpack"},
            {"package_set": "cobol"},
            {"algorithm_environment": "00000000-0000-0000-0000-000000000000"},
        ],
    )
    def test_a_language_that_is_not_offered_is_refused_and_those_offered_named(self, how: dict[str, str]) -> None:
        with pytest.raises(Invalid, match="'python3-1', 'javascript', 'pipe'") as refused:
            created(asked(**REQUIRED, **how))
        assert refused.value.code == 4001

    @pytest.mark.parametrize("how", [{}, {"language": "pipe", "package_set": "python37"}])
    def test_no_language_or_two_are_refused(self, how: dict[str, str]) -> None:
        with pytest.raises(Invalid, match="choose the language by one of"):
            created(asked(**REQUIRED, **how))

    def test_closed_sources_need_the_platforms_license(self) -> None:
        with pytest.raises(Invalid, match=r"settings\.license"):
            created(asked(**{**REQUIRED, "license": "mit"}, language="pipe"))
        open_source = {**REQUIRED, "source_visibility": "open", "license": "mit"}
        assert created(asked(**open_source, language="pipe"))[1]["license"] == "mit"

    def test_what_the_platform_does_not_have_is_refused(self) -> None:
        with pytest.raises(Invalid, match="'cpu' only"):
            created(asked(**REQUIRED, language="python3-1", environment="gpu"))
        with pytest.raises(Invalid, match="no royalties"):
            created(asked(**REQUIRED, language="python3-1", royalty_microcredits=5))

    @pytest.mark.parametrize(
        "member",
        [
            {"license": "bsd"},
            {"network_access": "some"},
            {"pipeline_enabled": "yes"},
            {"source_visibility": "hidden"},
            {"environment": "tpu"},
            {"royalty_microcredits": -1},
            {"algorithm_environment": "python"},
            {"scaling": {"min_replica": 1}},
            {"scaling": {"min_replicas": "1"}},
        ],
    )
    def test_values_of_another_form_do_not_parse(self, member: dict[str, Any]) -> None:
        with pytest.raises(ValidationError):
            asked(**member)

    def test_members_of_other_platforms_are_ignored(self) -> None:
        assert created(asked(**REQUIRED, language="pipe", gpu_count=3))[1].get("gpu_count") is None


class TestChange:
    before: ClassVar[dict[str, Any]] = {**REQUIRED, "language": "python3-1", "environment": "cpu"}

    def test_what_is_absent_stays(self) -> None:
        assert changed(self.before, asked()) == self.before
        assert changed(self.before, asked(network_access="isolated")) == {**self.before, "network_access": "isolated"}

    def test_an_environment_takes_the_place_of_the_language(self) -> None:
        chosen = str(environments.environment_id(Language.JAVASCRIPT))
        after = changed(self.before, asked(algorithm_environment=chosen))
        assert after == {**REQUIRED, "algorithm_environment": chosen}
        assert language_of(after) is Language.JAVASCRIPT

    def test_what_a_client_read_it_can_send_back(self) -> None:
        answer = {**self.before, "algorithm_callability": "private", "royalty_microcredits": 0, "scaling": {}}
        assert changed(self.before, asked(**answer)) == self.before

    def test_the_rules_hold_after_a_change_too(self) -> None:
        with pytest.raises(Invalid, match=r"settings\.license"):
            changed(self.before, asked(license="gpl3"))


class TestScaling:
    def test_what_is_absent_stays(self) -> None:
        before = Scaling(max_replicas=7, memory_mib=512)
        assert scaled(before, None) == before
        after = scaled(before, ScalingChange(min_replicas=2, cpus=1.5, gpus=1))
        assert (after.cpus, after.gpus) == (1.5, 1)
        assert (after.min_replicas, after.max_replicas, after.memory_mib) == (2, 7, 512)

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            ({"min_replicas": -1}, "min_replicas"),
            ({"max_replicas": 0}, "max_replicas"),
            ({"concurrency": 65}, "concurrency"),
            ({"idle_seconds": 0.5}, "idle_seconds"),
            ({"memory_mib": 1}, "memory_mib"),
            ({"cpus": -0.5}, "cpus"),
            ({"gpus": -1}, "gpus"),
            ({"gpus": 65}, "gpus"),
            ({"min_replicas": 5, "max_replicas": 4}, "min_replicas is more than max_replicas"),
        ],
    )
    def test_a_value_out_of_range_is_refused_by_name(self, change: dict[str, Any], reason: str) -> None:
        with pytest.raises(Invalid, match=reason):
            scaled(Scaling(), ScalingChange.model_validate(change))
