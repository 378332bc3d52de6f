"""The boards' session: a sealed token in a cookie that reads boards and nothing else."""

import pytest

from breakwater.identity.v1 import identity_pb2
from breakwater.leads.v1 import boards_pb2
from services.gateway.http.sessions import COOKIE, TOKEN_BYTES_MAX
from tests.unit.gateway.conftest import SESSION_S_MAX

pytestmark = pytest.mark.capability(6)


async def cookie_of(gateway, **claims) -> str:
    reply = await gateway.client.post("/boards/session", headers=gateway.bearer("manager", **claims))
    assert reply.status_code == 200, reply.text
    return reply.headers["set-cookie"].partition(";")[0]


async def test_a_token_is_traded_for_a_cookie_no_script_and_no_other_site_can_use(gateway):
    """`__Host-`, Secure, HttpOnly, SameSite=Strict, no longer than the token lives; the token is not to be read from it."""
    token = gateway.token("manager")
    reply = await gateway.client.post("/boards/session", headers={"authorization": f"Bearer {token}"})
    said = reply.headers["set-cookie"]
    assert said.startswith(f"{COOKIE}=")
    assert {"Path=/", "Secure", "HttpOnly", "SameSite=Strict"} <= set(said.split("; "))
    assert f"Max-Age={SESSION_S_MAX}" in said
    assert token not in said
    assert reply.json() == {"sub": "1001", "role": "manager"}
    short = await gateway.client.post(
        "/boards/session", headers=gateway.bearer("manager", exp=gateway.clock.now().timestamp() + 60)
    )
    assert "Max-Age=60" in short.headers["set-cookie"]


async def test_the_cookie_reads_boards_with_role_and_scope_of_its_token(gateway):
    """leads is told who asks, as with the token itself."""
    total = boards_pb2.Timeliness(leads=3, responded=2, on_time=boards_pb2.Share(met=1, of=2))
    gateway.leads.answers["GetLeadTimeliness"] = boards_pb2.GetLeadTimelinessResponse(total=total)
    cookie = await cookie_of(gateway, sub="boss", scope="team")
    reply = await gateway.client.get("/v1/boards/lead-timeliness", headers={"cookie": f"x=1; {cookie}"})
    assert reply.status_code == 200, reply.text
    [request] = gateway.leads.requests("GetLeadTimeliness")
    assert (request.actor.sub, request.actor.scope) == ("boss", identity_pb2.SCOPE_TEAM)
    total = reply.json()["total"]
    assert (total["on_time"], total["business"]) == ({"met": 1, "of": 2, "share": 0.5}, None)
    assert total["contacted_in_time"]["share"] is None


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/leads"),
        ("GET", "/v1/customers/0198"),
        ("POST", "/v1/leads"),
        ("POST", "/v1/exports"),
        ("POST", "/boards/session"),
        ("POST", "/v1/boards/lead-timeliness"),
    ],
)
async def test_the_cookie_is_no_token_anywhere_else(gateway, method, path):
    """Other data, and whatever changes something, asks for the token: a page of another site gets nothing done."""
    cookie = await cookie_of(gateway)
    reply = await gateway.client.request(method, path, headers={"cookie": cookie})
    assert reply.status_code in {401, 405}, reply.text
    assert gateway.leads.asked == []


async def test_a_cookie_that_is_not_ours_is_nobody(gateway):
    """Changed, cut, of another key, empty, or a bare token: 401, and the page is the way in."""
    cookie = await cookie_of(gateway)
    name, _, value = cookie.partition("=")
    flipped = value[:40] + ("A" if value[40] != "A" else "B") + value[41:]
    for forged in (f"{name}={flipped}", cookie[:-8], f"{name}=", f"{name}={gateway.token()}", f"{name}=%%%", '"'):
        reply = await gateway.client.get("/v1/boards/personal", headers={"cookie": forged})
        assert reply.status_code == 401, forged
        page = await gateway.client.get("/boards", headers={"cookie": forged})
        assert 'id="login"' in page.text, forged
    assert 'id="board"' in (await gateway.client.get("/boards", headers={"cookie": cookie})).text


async def test_a_session_ends_with_its_token_and_by_signing_out(gateway):
    """The cookie of an expired token reads nothing and shows the way in; signing out takes the cookie away."""
    cookie = await cookie_of(gateway)
    gone = await gateway.client.delete("/boards/session", headers={"cookie": cookie})
    assert gone.status_code == 204
    assert "Max-Age=0" in gone.headers["set-cookie"]
    await gateway.clock.advance(700)
    assert (await gateway.client.get("/v1/boards/personal", headers={"cookie": cookie})).status_code == 401
    assert 'id="login"' in (await gateway.client.get("/boards", headers={"cookie": cookie})).text


async def test_who_has_no_business_with_boards_gets_no_session(gateway):
    """On-call and SRE have none; a token too long for a cookie is refused with the reason."""
    for role in ("oncall", "sre"):
        assert (await gateway.client.post("/boards/session", headers=gateway.bearer(role))).status_code == 403
    reply = await gateway.client.post("/boards/session", headers=gateway.bearer("admin", note="x" * TOKEN_BYTES_MAX))
    assert reply.status_code in {401, 422}


async def test_the_page_is_ours_alone(gateway):
    """Nothing inline, nothing from outside, framed by nobody; its files are kept by their version."""
    page = await gateway.client.get("/boards")
    policy = page.headers["content-security-policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "http://" not in page.text
    assert "https://" not in page.text
    [script] = [each for each in page.text.split('"') if each.endswith("login.js")]
    asset = await gateway.client.get(script)
    assert asset.status_code == 200
    assert "immutable" in asset.headers["cache-control"]
    assert asset.headers["content-security-policy"] == policy
    other = await gateway.client.get("/boards/assets/another/login.js")
    assert other.headers["cache-control"] == "no-cache"
    for path in ("/boards/assets/x/index.html", "/boards/assets/x/none.js", "/boards/assets/x/..%2f..%2fmain.py"):
        assert (await gateway.client.get(path)).status_code == 404, path
