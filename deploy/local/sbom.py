#!/usr/bin/python3
"""What the platform is made of, as CycloneDX (https://cyclonedx.org) in build/sbom: a file for each of our executables, and
one each for what the stack without containers runs beside them.

  deploy/local/sbom.py [--build build/release]

An executable's file has Debian's packages that its shared libraries are from, and those whose static libraries and headers
are compiled into it. What those formats look like is the business of packaged tools: distro2sbom, npm and CycloneDX's
plugin for Maven.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from settings import PROCESSES, REPO, TOOLS, StackError

DISTRO2SBOM = TOOLS / "sbom/bin/distro2sbom"
MAVEN_PLUGIN = "org.cyclonedx:cyclonedx-maven-plugin:2.9.1:makeBom"
# Besides the processes: what an operator runs, what makes topics, and the health check of containers.
PROGRAMS = (*PROCESSES, "messages", "audit", "topics", "healthcheck")


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise StackError(f"{command[0]} failed:\n{done.stderr or done.stdout}")
    return done.stdout


# --- which packages -----------------------------------------------------------------------------

@cache
def owners():
    """File -> the package that has it, by dpkg's own lists, with folders that are links followed."""
    found = {}
    for listed in Path("/var/lib/dpkg/info").glob("*.list"):
        package = listed.stem.split(":")[0]
        for line in listed.read_text().splitlines():
            if ("/lib" in line or line.startswith("/usr/include/")) and not os.path.islink(line):
                found[os.path.realpath(line)] = package
    return found


def packages_with(files):
    return {owners()[real] for file in files if (real := os.path.realpath(file)) in owners()}


@cache
def source_of(package):
    return run("dpkg-query", "-W", "-f", "${source:Package}", package)


@cache
def headers(build):
    """Object file -> the system's headers in it."""
    found, current = {}, None
    for line in run("ninja", "-C", build, "-t", "deps").splitlines():
        if line and not line.startswith(" "):
            current = found.setdefault(line.split(":")[0], [])
        elif "/usr/include/" in line:
            current.append("/usr/include/" + line.split("/usr/include/")[1])
    return found


def packages_of(build, program):
    """Of its shared libraries; and of what is compiled into it and has no shared library there."""
    path = f"bin/{program}"
    shared = packages_with(re.findall(r"=> (/\S+)", run("ldd", build / path)))
    inputs = run("ninja", "-C", build, "-t", "inputs", path).splitlines()
    compiled_in = packages_with(file for file in inputs if file.endswith(".a"))
    compiled_in |= packages_with(header for file in inputs for header in headers(build).get(file, ()))
    sources = {source_of(package) for package in shared}
    return shared | {package for package in compiled_in if source_of(package) not in sources}


# --- the files ----------------------------------------------------------------------------------

def write_debian(out, name, packages, version):
    """By distro2sbom, which describes what the package database of a root folder lists."""
    with tempfile.TemporaryDirectory() as root:
        database = Path(root) / "var/lib/dpkg/status"
        database.parent.mkdir(parents=True)
        database.write_text("\n".join(run("dpkg-query", "-s", package) for package in sorted(packages)))
        run(DISTRO2SBOM, "--distro", "deb", "--system", "--root", root, "--name", "debian", "--release",
            Path("/etc/debian_version").read_text().strip(), "--sbom", "cyclonedx", "--format", "json", "--product-type", "application", "--product-name", name,
            "--product-version", version, "--output-file", out / f"{name}.json")


def write_maven(out, name):
    run("mvn", "-B", "-ntp", "-q", "-f", REPO / "deploy/local" / name / "pom.xml", MAVEN_PLUGIN,
        f"-DoutputDirectory={out}", f"-DoutputName={name}", "-DoutputFormat=json")


def write_npm(out):
    """Of a copy whose root has a version, without which npm does not describe it."""
    with tempfile.TemporaryDirectory() as copy:
        for name in ("package.json", "package-lock.json"):
            listed = json.loads((REPO / "deploy/local/tools" / name).read_text())
            (Path(copy) / name).write_text(json.dumps(listed | {"version": "1.0.0"}))
        (out / "npm.json").write_text(run("npm", "sbom", "--sbom-format", "cyclonedx", "--package-lock-only", cwd=copy))


def check(path):
    """Answers how many parts a file names; there is no thing without one."""
    document = json.loads(path.read_text())
    parts = len(document.get("components", ()))
    if document.get("bomFormat") != "CycloneDX" or not parts:
        raise StackError(f"{path} is no list of parts")
    return parts


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", type=Path, default=REPO / "build/release")
    parser.add_argument("--out", type=Path, default=REPO / "build/sbom")
    args = parser.parse_args()
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    version = run("git", "-C", REPO, "describe", "--always", "--dirty").strip()
    for program in PROGRAMS:
        write_debian(out, program, packages_of(args.build, program), version)
    write_debian(out, "servers", {*re.findall(r"[\w.+-]+", SERVERS)}, version)
    write_maven(out, "kafka")
    write_maven(out, "mongo")
    write_npm(out)
    for path in sorted(out.glob("*.json")):
        print(f"{check(path):>5} parts  {os.path.relpath(path)}")


# Debian's packages that the stack without containers runs: install-all.sh has the list.
SERVERS = re.search(r"^server_packages=\((.*?)\)", (REPO / "install-all.sh").read_text(), re.M | re.S)[1]

if __name__ == "__main__":
    try:
        main()
    except StackError as error:
        sys.exit(f"error: {error}")
