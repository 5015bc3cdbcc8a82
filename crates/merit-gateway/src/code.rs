//! What the door itself refuses, by name. What an operation refuses is named by its own list.

use merit_core::codes;

codes! {
    /// Refusals of the door, `code` of the answer.
    DOOR exits 0 {
        ROUTE_UNKNOWN "route_unknown" "404: there is nothing at that path", "`/openapi.json` lists the paths, `/docs` shows them";
        METHOD_NOT_ALLOWED "method_not_allowed" "405: the path does not take that method", "the header `Allow` names those it takes";
        HOST_UNKNOWN "host_unknown" "421: the request names a host that is not this machine by a loopback name", "ask for `localhost`, `127.0.0.1` or `[::1]`; a page of another site cannot reach Merit by its own name";
        REQUEST_INVALID "request_invalid" "400: the bytes are no HTTP request; the connection ends", "speak HTTP/1.1 or HTTP/2, without TLS";
        HEAD_TOO_LARGE "head_too_large" "431: request line and headers are over 16 KiB or more than 100; the connection ends", "send less in headers and query";
        PARAMETER_INVALID "parameter_invalid" "400: a parameter in path, query or header is missing, unknown, given twice or out of its range", "see the operation's parameters in `/docs`";
        BODY_UNEXPECTED "body_unexpected" "400: the operation takes no body", "send none";
        BODY_BROKEN "body_broken" "400: the body ended before its end, or its chunks are none", "send as many bytes as announced";
        JSON_INVALID "json_invalid" "400: the body is no JSON, has a key twice, is deeper than 32, or holds a string over 4 KiB", "the message says where";
        BODY_TIMEOUT "body_timeout" "408: the body took too long to arrive", "send it at once";
        BODY_TOO_LARGE "body_too_large" "413: the body is larger than the operation takes", "send less in one request";
        CONTENT_TYPE "content_type" "415: the body is not `application/json`, or is compressed", "set `Content-Type: application/json` and no `Content-Encoding`";
        FIELD_UNKNOWN "field_unknown" "422: the body has a field that the operation does not take, such as one that only Merit sets", "leave it out; the message names those it takes";
        VALUE_INVALID "value_invalid" "422: a value of the body is missing, of another type or out of its range", "the message says where";
        RATE_LIMITED "rate_limited" "429: more requests a second than one caller may make", "wait as the header `Retry-After` says";
        PANICKED "internal" "500: a bug of Merit; the outcome of the request is unknown", "report it with the request's id";
        OVERLOADED "overloaded" "503: Merit has more to do than it can keep up with; the request had no effect", "ask again as the header `Retry-After` says";
        REQUEST_TIMEOUT "request_timeout" "503: the request took too long; its outcome is unknown", "ask again with the same `Idempotency-Key`";
        CONNECTIONS_FULL "connections_full" "503: as many connections are open as may be", "keep connections open and use them again, or wait";
    }
}
