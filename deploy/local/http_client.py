"""HTTP as the scripts and the tests speak it: one request, its answer, and no proxy on the way."""

import http.client
import json


def fetch(address, path, method="GET", body=None, token=None, headers=None, timeout=20):
    """Status, headers and body of the answer; OSError where there is none. A body goes as JSON."""
    connection = http.client.HTTPConnection(address, timeout=timeout)
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
