#!/usr/bin/python3
"""The answers that the Postman collection has saved, one a request: what a reader sees before sending anything.

They are recorded from a real run of the collection (`make collection`). What differs from run to run is written
the same way each time, and an answer that still says the same is left alone, so that recording again changes
only what has changed.

  tests/api/examples.py COLLECTION REPORT     REPORT: what newman's json reporter wrote of a run
"""

import json
import re
import sys
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))
from commands import Number, pretty  # pylint: disable=wrong-import-position

# What differs from run to run: a pattern and what is saved in its place.
VOLATILE = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "2026-01-31T12:00:00.000Z"),
    (re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"), "7d1c3c5e-4a0f-4c57-9a6b-0f6f2d1f6f0a"),
    (re.compile(r"eyJ[\w-]+\.[\w-]+\.[\w-]+"), "eyJhbGciOiJFUzI1NiIsInR5cCI6ImF0K2p3dCJ9.…"),
    (re.compile(r'("requestId":\s*)"[^"]*"'), r'\1"0f8fad5bd9cb469fa165708677289501"'),
)
# Of what is longer, such as the API's own document, the beginning is saved.
SHOWN = 12_000
KEPT_HEADERS = ("content-type", "etag", "location", "allow", "www-authenticate", "retry-after",
                "idempotent-replayed")


def requests(folder):
    for item in folder["item"]:
        if "item" in item:
            yield from requests(item)
        else:
            yield item


def saved_text(text, run):
    """An answer's body as it is saved."""
    text = text.replace(run, "demo")
    for pattern, steady in VOLATILE:
        text = pattern.sub(steady, text)
    try:
        return pretty(json.loads(text, parse_float=Number, parse_int=Number), indent="")
    except ValueError:
        return text


def gist(code, text):
    """What two answers have in common that say the same: the status, the names of the data, or the refusal."""
    if len(text) > SHOWN:
        return code, "long"
    try:
        body = json.loads(text)
    except ValueError:
        return code, None
    if isinstance(body, dict) and "error" in body:
        error = body["error"]
        return code, error["code"], [detail["field"] for detail in error["details"]]
    data = body.get("data", body) if isinstance(body, dict) else body
    return code, sorted(data) if isinstance(data, dict) else type(data).__name__


def answers(report):
    """Request name -> its answer, and the mark of the run. Of a request that was repeated, the last."""
    found = {done["item"]["name"]: done["response"] for done in report["run"]["executions"] if "response" in done}
    mark = re.search(r"alice\.(\w+)@", body_of(found["Register a customer"]))
    return found, mark[1]


def asked(item):
    """What Postman keeps of the request beside a saved answer."""
    return {name: item["request"][name] for name in ("method", "header", "body", "url") if name in item["request"]}


def body_of(response):
    return bytes(response["stream"]["data"]).decode()


def example(item, response, run):
    """The answer in the form in which Postman saves one."""
    text = saved_text(body_of(response), run)
    if len(text) > SHOWN:
        text = text[:SHOWN] + "\n…"
    headers = [{"key": header["key"], "value": header["value"]} for header in response["header"]
               if header["key"].lower() in KEPT_HEADERS]
    return {"name": item["name"], "originalRequest": asked(item), "status": response["status"], "code": response["code"],
            "_postman_previewlanguage": "json", "header": headers, "cookie": [], "body": text}


def record(collection, report):
    """Saves the answers that are new or say something else than the saved ones; how many."""
    found, run = answers(report)
    changed = 0
    for item in requests(collection):
        response = found.get(item["name"])
        if response is None:
            continue
        fresh = example(item, response, run)
        saved = item["response"][0] if len(item.get("response", [])) == 1 else None
        if saved is None or saved["originalRequest"] != fresh["originalRequest"] \
                or gist(saved["code"], saved["body"]) != gist(response["code"], body_of(response)):
            item["response"] = [fresh]
            changed += 1
    return changed


def main():
    path, report = map(Path, sys.argv[1:])
    collection = json.loads(path.read_text(encoding="utf-8"))
    changed = record(collection, json.loads(report.read_text(encoding="utf-8")))
    path.write_text(json.dumps(collection, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{changed} answers saved anew")


if __name__ == "__main__":
    main()
