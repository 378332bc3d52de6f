"""Bad input gets the right status and a problem that names the field, and changes no table."""

import base64
import json
import time

import pytest

from tests.support.platform import eventually

GOOD = {"name": "李雷", "company": "测试有限公司", "source": "website"}


def b64(document):
    """One part of a compact JWS."""
    return base64.urlsafe_b64encode(json.dumps(document).encode()).rstrip(b"=").decode()


@pytest.fixture(scope="module")
def api(platform):
    """An administrator's client."""
    return platform.api()


@pytest.fixture(scope="module")
def row_counts(platform, zoho):
    """Of every table, once all that the import caused is done."""
    platform.postpone()
    return platform.at_rest()


@pytest.fixture(autouse=True)
def unchanged(platform, row_counts):
    """No table has other row counts after the test than before it."""
    yield
    assert platform.row_counts() == row_counts


def fields(answer):
    """The fields a problem names."""
    return {error["field"] for error in answer.json().get("errors", [])}


def is_problem(answer, status):
    """Whether the answer is a problem with that status, complete and in the right media type."""
    body = answer.json()
    return (
        answer.status_code == body["status"] == status
        and answer.headers["content-type"].startswith("application/problem+json")
        and {"type", "title", "detail", "code", "request_id"} <= body.keys()
    )


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"name": 7}, "name"),
        ({"name": ""}, "name"),
        ({"name": None}, "name"),
        ({"source": None}, "source"),
        ({"email": "nobody"}, "email"),
        ({"budget": "plenty"}, "budget"),
        ({"budget": -1}, "budget"),
        ({"utm": "x"}, "utm"),
        ({"salary": 1}, "salary"),
        ({"name": "x" * 500}, "name"),
        ({"need": "a\x00b"}, "need"),
    ],
)
def test_a_wrong_or_unknown_field_is_named(api, change, named):
    """422 with the field's name, for wrong types, missing, overlong and unknown fields."""
    answer = api.post("/v1/leads", json={**GOOD, **change})
    assert is_problem(answer, 422), answer.text
    assert named in fields(answer)


def test_what_is_not_json_is_refused(api):
    """Broken JSON and another content type have their own statuses."""
    headers = {"content-type": "application/json"}
    assert is_problem(api.post("/v1/leads", content=b'{"name": ', headers=headers), 422)
    assert is_problem(api.post("/v1/leads", content=b"name=x", headers={"content-type": "text/plain"}), 415)


def test_an_oversized_body_is_refused(api):
    """413 names the limit, whether or not the length was announced."""
    big = json.dumps({**GOOD, "need": "x" * 2_000_000}).encode()
    headers = {"content-type": "application/json"}
    assert is_problem(api.post("/v1/leads", content=big, headers=headers), 413)
    pieces = (big[start : start + 65_536] for start in range(0, len(big), 65_536))
    assert is_problem(api.post("/v1/leads", content=pieces, headers=headers), 413)


def test_bad_tokens_are_refused(platform):
    """No token, an expired one, one of a foreign key, one without a signature: 401 with a challenge."""
    good = platform.token()
    header, claims, signature = good.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "==="))
    past = b64({**decoded, "exp": int(time.time()) - 3600, "iat": int(time.time()) - 7200})
    client = platform.api()
    bad = {
        "none at all": "",
        "not a token": "Bearer abc",
        "another scheme": f"Basic {good}",
        "alg none": f"Bearer {b64({'alg': 'none', 'typ': 'JWT'})}.{claims}.",
        "expired and resigned by nobody": f"Bearer {header}.{past}.{signature}",
        "a foreign key": f"Bearer {header}.{claims}.{base64.urlsafe_b64encode(bytes(64)).rstrip(b'=').decode()}",
    }
    for what, value in bad.items():
        answer = client.get("/v1/leads", headers={"authorization": value})
        assert is_problem(answer, 401), what
        assert answer.headers["www-authenticate"].startswith("Bearer"), what


def test_an_expired_token_is_refused(platform):
    """A token that was good is refused once its time is over (the leeway passed)."""
    client = platform.api()
    token = platform.token(ttl="1s")

    def refused():
        return client.get("/v1/leads", headers={"authorization": f"Bearer {token}"}).status_code == 401

    eventually("the token to expire", refused, within_s=15)


def test_a_role_may_do_only_what_the_matrix_allows(platform):
    """A sales person may not change the rules: 403."""
    sales = platform.api("sales", "1001", "own")
    answer = sales.put("/v1/routing/rules", json={"document": {}})
    assert is_problem(answer, 403)


def test_routes_and_methods_that_do_not_exist_are_problems(api):
    """404 and 405, as problems too."""
    assert is_problem(api.get("/v1/unicorns"), 404)
    assert is_problem(api.delete("/v1/leads"), 405)


@pytest.mark.parametrize(
    ("name", "content", "mapping"),
    [
        ("empty.csv", b"", "zoho"),
        ("binary.csv", b"\x00\x01\x02\xff\xfe\xfd" * 100, "zoho"),
        ("headers.csv", "甲,乙\n1,2\n".encode(), "zoho"),
        ("unknown-mapping.csv", b"a,b\n1,2\n", "no-such-mapping"),
        ("broken.xlsx", b"PK\x03\x04 this is no workbook", "zoho"),
    ],
)
def test_a_file_that_cannot_be_imported_is_refused_at_once(api, name, content, mapping):
    """422 before anything is stored, naming what is wrong with file or mapping."""
    answer = api.post("/v1/imports", files={"file": (name, content)}, data={"mapping": mapping})
    assert is_problem(answer, 422), answer.text
    assert fields(answer)


def test_someone_elses_record_does_not_exist(platform, zoho):
    """Another's lead is 404, for reading as for claiming."""
    [lead] = platform.api().get("/v1/leads", params={"limit": 1}).json()["items"]
    stranger = platform.api("sales", "nobody-we-know", "own")
    assert is_problem(stranger.get(f"/v1/leads/{lead['id']}"), 404)
    assert is_problem(stranger.post(f"/v1/leads/{lead['id']}/claim"), 404)
