"""Commands for workers, keys, users and organizations."""

from __future__ import annotations

import json

import httpx

from tests.unit.cli.platform import ADMIN_KEY, URL, Platform, Run


def test_workers_are_listed_with_the_administrators_key(run: Run, platform: Platform) -> None:
    row = {
        "id": "w1",
        "name": "node",
        "state": "ready",
        "languages": ["python3", "pipe"],
        "capacity": {"replicas": 64, "memory_mib": 1000, "gpus": 4},
        "used": {"replicas": 2, "memory_mib": 500, "gpus": 1},
        "version": "1",
    }
    platform.on("GET /admin/v1/workers", {"items": [row], "cursor": None})
    assert run("worker", "ls").stdout.splitlines()[1] == "w1\tnode\tready\t2\t64\t500\t1000\t1\t4\tpython3, pipe\t1"
    assert platform.keys == {ADMIN_KEY}


def test_a_worker_is_drained_and_taken_back(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/workers/w1/drain", {"id": "w1", "state": "draining"})
    platform.on("DELETE /admin/v1/workers/w1/drain", {"id": "w1", "state": "ready"})
    assert "draining" in run("worker", "drain", "w1").stdout
    assert "ready" in run("worker", "drain", "w1", "--undo").stdout
    assert run("worker", "drain", "w2").exit_code == 1


def test_a_worker_token_comes_with_the_command_that_uses_it(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/mandates", {"id": "m", "key": "the-token"}, 201)
    done = run("worker", "token", "--uses", "3", "--note", "rack 4")
    line = f"CONSTELLATION_FAKTS_URL={URL} CONSTELLATION_JOIN_TOKEN=the-token constellation serve worker"
    assert line in done.stdout
    assert platform.body == {
        "kind": "service",
        "identifiers": ["constellation.worker"],
        "uses": 3,
        "note": "rack 4",
    }
    assert done.stderr == ""


def test_a_token_for_an_address_of_this_machine_only_is_said_to_be_one(run: Run, platform: Platform) -> None:
    platform.on("POST /admin/v1/mandates", {"id": "m", "key": "the-token"}, 201)
    done = run("worker", "token", "--url", "http://127.0.0.1:8000", "--api-key", ADMIN_KEY)
    assert "an address of this machine only" in done.stderr


def test_a_key_allows_what_is_said_and_is_shown_once(run: Run, platform: Platform) -> None:
    made = {"id": "k1", "owner_name": "bob", "api_key": "simNEW", "api_key_mask": "sim***"}
    platform.on("POST /v1/users/bob/keys", made, 201)
    done = run("key", "create", "laptop", "--owner", "bob", "--call", "ana/hello", "--call", "lab/*", "--data-write")
    assert "simNEW" in done.stdout
    assert platform.body == {
        "key_label": "laptop",
        "key_type": "AlgorithmKey",
        "permissions": {
            "allow_algo": True,
            "algo_acl": ["algo://ana/hello/*", "algo://lab/*"],
            "allow_algo_management": False,
            "allow_data": True,
            "allow_data_write": True,
        },
        "expires_at": None,
    }


def test_keys_are_listed_and_revoked_for_whoever_is_named(run: Run, platform: Platform) -> None:
    row = {"id": "k1", "owner_name": "lab", "key_label": "ci", "key_type": "AlgorithmKey", "api_key_mask": "sim***"}
    for path in ("/v1/users/ana/keys", "/v1/organizations/lab/keys", "/admin/v1/keys"):
        platform.on(f"GET {path}", {"results": [row], "marker": None})
    for arguments in ([], ["--org", "lab"], ["--all"]):
        assert run("key", "ls", *arguments).stdout.splitlines()[1] == "k1\tlab\tci\tAlgorithmKey\tsim***\t"
    platform.answers["DELETE /v1/organizations/lab/keys/k1"] = httpx.Response(204)
    assert run("key", "revoke", "k1", "--org", "lab").exit_code == 0
    assert run("key", "ls", "--org", "lab", "--owner", "ana").exit_code == 1


def test_a_user_is_added_with_a_password_that_is_never_shown(run: Run, platform: Platform) -> None:
    platform.on("POST /v1/users", {"id": "u1", "username": "bob"}, 201)
    platform.on("PATCH /admin/v1/users/bob", {"name": "bob"})
    arguments = ["user", "create", "bob", "--email", "b@example.org", "--admin", "--password"]
    done = run(*arguments, input="open sesame\nopen sesame\n")
    assert done.exit_code == 0
    assert "sesame" not in done.output
    assert json.loads(platform.requests[0].content) == {
        "username": "bob",
        "email": "b@example.org",
        "fullname": None,
    }
    assert platform.body == {"staff": True, "password": "open sesame"}


def test_users_are_listed(run: Run, platform: Platform) -> None:
    row = {"name": "bob", "email": "b@example.org", "staff": True, "session_limit": 80, "created_at": "2026"}
    platform.on("GET /admin/v1/users", {"items": [row], "cursor": None})
    assert run("user", "ls").stdout.splitlines()[1] == "bob\tb@example.org\t\tyes\t80\t2026"


def test_an_organization_is_added_and_gets_members(run: Run, platform: Platform) -> None:
    platform.on("POST /v1/organizations", {"id": "o1", "org_name": "lab"}, 201)
    assert run("org", "create", "lab", "--email", "l@example.org", "--label", "The lab").exit_code == 0
    assert platform.body == {
        "org_name": "lab",
        "org_label": "The lab",
        "org_contact_name": "lab",
        "org_email": "l@example.org",
    }
    platform.answers["PUT /v1/organizations/lab/members/bob"] = httpx.Response(201)
    assert json.loads(run("org", "members", "add", "lab", "bob", "--role", "owner", "--json").stdout)["added"]
    assert platform.body == {"role": "owner"}
    members = {"results": [{"username": "bob", "role": "owner"}], "marker": None}
    platform.on("GET /v1/organizations/lab/members", members)
    assert run("org", "members", "ls", "lab").stdout == "USER\tROLE\nbob\towner\n"


def test_organizations_are_listed(run: Run, platform: Platform) -> None:
    row = {"name": "lab", "label": "The lab", "email": "l@example.org", "created_at": "2026"}
    platform.on("GET /admin/v1/organizations", {"items": [row], "cursor": None})
    assert run("org", "ls").stdout.splitlines()[1] == "lab\tThe lab\tl@example.org\t2026"


def test_acts_are_listed_as_far_as_they_are_asked_for(run: Run, platform: Platform) -> None:
    rows = [{"at": str(n), "actor": "ana", "action": "x", "subject": "s", "outcome": "done"} for n in range(3)]
    platform.on("GET /admin/v1/audit", {"results": rows, "cursor": "more"})
    done = run("audit", "--actor", "ana", "--limit", "2", "--json")
    assert json.loads(done.stdout) == rows[:2]
    assert platform.requests[0].url.params["actor"] == "ana"
    assert len(platform.requests) == 1
