"""Certificates for one machine: an authority, and what it certifies.

    ca.crt           whose certificates everybody here trusts
    <process>.crt    what gateway and services show each other, with <process>.key
    client.crt       for people who call services themselves, by grpcurl
    https.crt        what the gateway shows browsers and clients, as `localhost`

What is there stays, until a month before its end.
"""

import subprocess
import tempfile
from pathlib import Path

from settings import SERVICES, StackError, tls_files, write_private

AUTHORITY_DAYS = 3650
DAYS = 365  # browsers take none for longer than 398
RENEW_DAYS = 30

# Each has the names and addresses that it is found at on this machine; a process's own comes first, others know it by that.
NAMES = {name: (name, "localhost", "127.0.0.1") for name in ("gateway", *SERVICES, "client")}
NAMES["https"] = ("localhost", "gateway", "127.0.0.1")


def openssl(*words, text=""):
    try:
        done = subprocess.run(["openssl", *map(str, words)], input=text, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise StackError("openssl is not installed") from None
    if done.returncode != 0:
        raise StackError(f"openssl {words[0]} failed: {done.stderr}")
    return done.stdout


def is_good(folder, name, authority_is_new):
    certificate, key = tls_files(folder, name)
    if authority_is_new or not certificate.exists() or not key.exists():
        return False
    return subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-checkend", str(RENEW_DAYS * 86_400)],
                          capture_output=True, check=False).returncode == 0


def certify(folder, name, extensions, days, *authority):
    """Makes a key, and its certificate: the authority's own where no other is given."""
    certificate, key = tls_files(folder, name)
    made = openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256")
    with tempfile.TemporaryDirectory() as drafts:
        private, extension_file, request = (Path(drafts) / part for part in ("key", "extensions", "request"))
        write_private(private, made)
        extension_file.write_text("\n".join(extensions) + "\n")
        openssl("req", "-new", "-sha256", "-key", private, "-subj", f"/O=shop/CN={name}", "-out", request)
        text = openssl("x509", "-req", "-sha256", "-in", request, "-days", days, "-extfile", extension_file,
                       *(authority or ("-signkey", private)))
    write_private(key, made)
    write_private(certificate, text)


def make(folder):
    """Makes what is missing or ends soon; answers the names."""
    folder = Path(folder)
    made = []
    authority_is_new = not is_good(folder, "ca", False)
    if authority_is_new:
        certify(folder, "ca", ("basicConstraints=critical,CA:TRUE,pathlen:0", "keyUsage=critical,keyCertSign,cRLSign"),
                AUTHORITY_DAYS)
        made.append("ca")
    authority, authority_key = tls_files(folder, "ca")
    for name, known_as in NAMES.items():
        if is_good(folder, name, authority_is_new):
            continue
        names = ",".join(("IP:" if part[0].isdigit() else "DNS:") + part for part in known_as)
        certify(folder, name, ("basicConstraints=critical,CA:FALSE", "keyUsage=critical,digitalSignature",
                               "extendedKeyUsage=serverAuth,clientAuth", f"subjectAltName={names}"),
                DAYS, "-CA", authority, "-CAkey", authority_key, "-CAcreateserial", "-CAserial", folder / "ca.srl")
        made.append(name)
    return made
