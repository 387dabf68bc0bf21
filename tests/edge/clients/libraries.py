"""One of the HTTP libraries of Python, as its documentation has it: libraries.py LIBRARY URL CA KEY_ID SECRET."""

import sys

library, url, ca, key, secret = sys.argv[1:]
headers = {"X-Access-Key-Id": key, "X-Access-Key-Secret": secret}


def pieces():
    for number in range(10):
        yield b'{"a": ' if number == 0 else b" 1}" if number == 9 else b" "


if library == "requests":
    import requests

    client = requests.Session()
    client.verify = ca
    upload = {"data": pieces()}
    version = lambda answer: {11: "HTTP/1.1"}[answer.raw.version]
else:
    import httpx, ssl

    client = httpx.Client(verify=ssl.create_default_context(cafile=ca), http2=library == "httpx over HTTP/2")
    upload = {"content": pieces()}
    version = lambda answer: answer.http_version

expected = "HTTP/2" if library == "httpx over HTTP/2" else "HTTP/1.1"
for _ in range(3):
    answer = client.get(f"{url}/things?page=1", headers=headers)
    assert (answer.status_code, answer.json()["ok"], version(answer)) == (200, True, expected), answer
answer = client.post(f"{url}/things", json={"a": 1}, auth=(key, secret))
assert answer.status_code == 200, answer.text
answer = client.post(f"{url}/things", headers={**headers, "Content-Type": "application/json"}, **upload)
assert answer.status_code == 200, answer.text
answer = client.get(f"{url}/things")
assert (answer.status_code, answer.json()["code"]) == (401, "credentials-missing"), answer.text
answer = client.get(f"{url}/other", headers=headers)
assert (answer.status_code, answer.json()["code"]) == (403, "endpoint-unknown"), answer.text
