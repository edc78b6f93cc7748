"""Tokens that services make, for tests that call one service as another. Signed by the openssl command."""

import base64
import hashlib
import json
import subprocess
import tempfile
import time

from settings import SERVICE_KEYS, private_key_der, public_key

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(digits, text):
    """r and the lower s of an ECDSA signature, side by side (RFC 7518, 3.4)."""
    with tempfile.NamedTemporaryFile() as key:
        key.write(private_key_der(digits))
        key.flush()
        der = subprocess.run(["openssl", "dgst", "-sha256", "-sign", key.name, "-keyform", "DER"],
                             input=text.encode(), capture_output=True, check=True).stdout
    end = 4 + der[3]  # 30 length 02 length r 02 length s
    r, s = int.from_bytes(der[4:end], "big"), int.from_bytes(der[end + 2:end + 2 + der[end + 1]], "big")
    return b"".join(number.to_bytes(32, "big") for number in (r, min(s, ORDER - s)))


def service_token(settings, service, receiver, subject=None):
    """What `service` shows to `receiver`; with a subject it says that it is another one."""
    name = SERVICE_KEYS[service]
    point = base64.urlsafe_b64decode(public_key(name, settings[name]) + "==")
    jwk = {"crv": "P-256", "kty": "EC", "x": base64url(point[:32]), "y": base64url(point[32:])}
    thumbprint = hashlib.sha256(json.dumps(jwk, separators=(",", ":")).encode()).digest()
    now = int(time.time())
    text = ".".join(base64url(json.dumps(part).encode()) for part in (
        {"alg": "ES256", "typ": "svc+jwt", "kid": base64url(thumbprint)},
        {"iss": "shop-services", "aud": receiver, "sub": subject or service, "iat": now, "exp": now + 60}))
    return text + "." + base64url(sign(settings[name], text))
