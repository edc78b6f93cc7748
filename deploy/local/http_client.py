"""HTTP as the scripts and the tests speak it: one request, its answer, and no proxy on the way."""

import http.client
import json
import ssl


def connect(address, timeout=20, ca=None):
    """A connection that speaks HTTP; with the file of an authority, HTTPS with who has its certificate."""
    if ca is None:
        return http.client.HTTPConnection(address, timeout=timeout)
    return http.client.HTTPSConnection(address, timeout=timeout, context=ssl.create_default_context(cafile=ca))


def fetch(address, path, method="GET", body=None, token=None, headers=None, timeout=20, ca=None):
    """Status, headers and body of the answer; OSError where there is none. A body goes as JSON."""
    connection = connect(address, timeout, ca)
    headers = dict(headers or {})
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body, default=float)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    except http.client.HTTPException as error:
        raise ConnectionError(f"no HTTP answer from {address}: {error!r}") from error
    finally:
        connection.close()
