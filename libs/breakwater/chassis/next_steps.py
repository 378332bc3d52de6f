"""What to do about each error code. Pure; told by the gateway's /docs, where `type` points, and by `breakwater explain`."""

from collections.abc import Mapping

NEXT_STEPS: Mapping[str, str] = {
    "body_timeout": "Send the whole body within the route's deadline, or ask for a longer one with X-Request-Timeout.",
    "circuit_open": "A part is out and is not called until it recovers: wait for Retry-After.",
    "conflict": "Read the record again: its present state does not allow the action.",
    "contract": "A service answers what we do not understand; on-call is told. Retry later.",
    "deadline_exceeded": "It may have happened: repeat it with the same Idempotency-Key, or ask for more time.",
    "dependency_auth": "A service refuses our credential: nothing is wrong with yours. Retry later.",
    "dependency_failed": "A service met a defect; quote request_id when you report it.",
    "export_expired": "The file's retention is over: ask for a new export.",
    "export_failed": "Read detail, correct the request and ask for a new export.",
    "export_not_ready": "Poll GET /v1/exports/{id} until its state is completed.",
    "head_timeout": "Send the request line and the headers without pauses.",
    "head_too_large": "Send fewer or shorter headers: detail names the limit.",
    "idempotency_key_in_flight": "The first request with this key is still running: repeat it after Retry-After.",
    "idempotency_key_reused": "This key was used with another body: use a new key for a new request.",
    "internal": "A defect of ours; quote request_id when you report it.",
    "invalid_request": "Correct the fields that errors names.",
    "local_engine_failed": "Neither engine could make the file; it is tried again by itself.",
    "malformed_body": "Send a body that is what its Content-Type says.",
    "malformed_request": "Speak HTTP/1.1.",
    "method_not_allowed": "Use one of the methods in the Allow header.",
    "not_ready": "The process starts or drains: wait for Retry-After.",
    "not_found": "Check the id; a record you may not see is not found either.",
    "overloaded": "This replica, or a part behind it, is at its limit: wait for Retry-After.",
    "payload_too_large": "Send less: detail names the limit.",
    "permission_denied": "Your role does not allow this; ask for a token with another role.",
    "range_not_satisfiable": "Ask for a range inside the size that Content-Range tells.",
    "rate_limited": "Slow down to what RateLimit-Policy allows and wait for Retry-After.",
    "unauthenticated": "Send Authorization: Bearer with a valid token: breakwater token --role ROLE --sub NAME.",
    "unavailable": "A part is out or busy; wait for Retry-After and repeat with the same Idempotency-Key.",
    "unsupported_media_type": "Send the Content-Type the route names.",
}
"""What a caller does next, by the code of a problem document."""
