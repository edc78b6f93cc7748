#!/usr/bin/python3
"""The Helm chart on a real API server of Kubernetes. No pod ever runs here: there is no scheduler and no node.

  tests/kubernetes/run.py [--build]

Starts etcd and kube-apiserver on free ports of loopback, with all data in a temporary folder, and stops them after. Then,
for the defaults, demo, Minikube, operators and TLS: helm lint; kubeconform -strict with the schemas that this server
publishes; an installation into a namespace that refuses pods that are not restricted, and each pod of the chart offered to
it (as a dry run). For the defaults besides: hooks run in their order before anything else is there, an upgrade makes anew
what it concerns and nothing else, one whose migration fails changes nothing, a rollback brings back what was, and after
an uninstallation nothing is left. As nothing runs, this script tells the server how each job ended.
Exits 77 where tools are missing and nobody asked to bring them (--build: tests/kubernetes/install.sh).
"""

import argparse
import copy
import json
import os
import ssl
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from datetime import datetime, timezone
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / "deploy/local"), str(REPO / "tests/e2e"), str(REPO / "tests/deploy")]

from chart_test import CHART, KUBERNETES, VARIANTS  # pylint: disable=wrong-import-position
from harness import say, wait_for  # pylint: disable=wrong-import-position
from settings import PROCESSES, Settings, free_ports  # pylint: disable=wrong-import-position

SKIPPED = 77
TOOLS = REPO / ".local/kubernetes/bin"
NEEDED = ("helm", "kubeconform", "kube-apiserver", "kubectl", "etcd")
TOKEN = "an-administrator"
HOOKS = ["databases", "topics", "migrate"]


def run(*command, check=True, env=None, text=""):
    done = subprocess.run([str(word) for word in command], input=text, capture_output=True, text=True, check=False,
                          timeout=300, env=os.environ | (env or {}))
    assert not check or done.returncode == 0, f"{' '.join(map(str, command))}:\n{done.stdout}{done.stderr}"
    return done


class Cluster:
    """What answers as Kubernetes, and its data."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.port, client, peer = free_ports(3)
        self.logs = []
        self.processes = []
        self.url = f"https://127.0.0.1:{self.port}"
        self.tls = ssl.create_default_context()
        self.tls.check_hostname = False
        self.tls.verify_mode = ssl.CERT_NONE  # the server has made its certificate itself, a moment ago
        self.config = self.folder / "kubeconfig"
        # No configuration of helm or kubectl of whoever runs this has a say.
        self.env = {"KUBECONFIG": str(self.config), "HOME": str(self.folder), "HELM_NAMESPACE": ""}
        self.config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {"server": self.url, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "test", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}))
        self.config.chmod(0o600)
        (self.folder / "tokens").write_text(f"{TOKEN},administrator,administrator,system:masters\n")
        run("openssl", "genrsa", "-out", self.folder / "accounts.key", "2048")
        etcd = f"http://127.0.0.1:{client}"
        self.start("etcd", "--data-dir", self.folder / "etcd", "--listen-client-urls", etcd, "--advertise-client-urls", etcd,
                   "--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls", f"http://127.0.0.1:{peer}",
                   "--initial-cluster", f"default=http://127.0.0.1:{peer}", "--unsafe-no-fsync")
        self.start("kube-apiserver", "--etcd-servers", etcd, "--bind-address", "127.0.0.1", "--secure-port", self.port,
                   "--advertise-address", "127.0.0.1", "--endpoint-reconciler-type", "none",
                   "--cert-dir", self.folder / "certificates", "--token-auth-file", self.folder / "tokens",
                   "--authorization-mode", "RBAC", "--service-cluster-ip-range", "10.96.0.0/16",
                   "--service-account-issuer", "https://kubernetes.invalid",
                   "--service-account-key-file", self.folder / "accounts.key",
                   "--service-account-signing-key-file", self.folder / "accounts.key")

    def start(self, program, *arguments):
        log = open(self.folder / f"{program}.log", "w", encoding="utf-8")  # pylint: disable=consider-using-with
        self.logs.append(log)
        self.processes.append(subprocess.Popen(  # pylint: disable=consider-using-with
            [TOOLS / program, *map(str, arguments)], stdout=log, stderr=log, cwd=self.folder))

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        for log in self.logs:
            log.close()

    def await_ready(self):
        def ready():
            assert all(process.poll() is None for process in self.processes), self.last_words()
            return self.text("GET", "/readyz") == "ok" and self.call("GET", "/api/v1/namespaces/default")
        wait_for("the API server", ready, 120)

    def last_words(self):
        return "\n".join(line for log in self.folder.glob("*.log") for line in log.read_text().splitlines()[-15:])

    def text(self, method, path, body=None, kind="application/json"):
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode(), method=method,
                                         headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": kind})
        with urllib.request.urlopen(request, context=self.tls, timeout=30) as answer:
            return answer.read().decode()

    def call(self, *arguments, **named):
        return json.loads(self.text(*arguments, **named))

    def listed(self, namespace, group, kinds):
        return {item["metadata"]["name"]: item for item in self.call("GET", f"/{group}/namespaces/{namespace}/{kinds}")["items"]}

    def deployments(self, namespace):
        return self.listed(namespace, "apis/apps/v1", "deployments")

    def helm(self, *arguments, check=True):
        return run(TOOLS / "helm", *arguments, check=check, env=self.env)

    def kubectl(self, *arguments, text=""):
        return run(TOOLS / "kubectl", *arguments, env=self.env, text=text).stdout


class Jobs:
    """Ends jobs, as nobody else does here, and remembers which there were and what was there at that moment."""

    def __init__(self, cluster, namespace, failing=()):
        self.cluster, self.namespace, self.failing = cluster, namespace, failing
        self.seen = []  # name, number of Deployments
        self.trouble = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self.work)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        assert self.trouble is None, self.trouble

    def work(self):
        ended = set()
        while not self.done.wait(0.1):
            try:
                for name, job in self.cluster.listed(self.namespace, "apis/batch/v1", "jobs").items():
                    over = job.get("status", {}).get("conditions")  # of a run before
                    if not over and job["metadata"]["uid"] not in ended:
                        self.seen.append((name, len(self.cluster.deployments(self.namespace))))
                        self.end(name)
                        ended.add(job["metadata"]["uid"])
            except Exception as error:  # pylint: disable=broad-exception-caught
                self.trouble = error
                return

    def end(self, name):
        now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
        failed = name in self.failing
        conditions = ("FailureTarget", "Failed") if failed else ("SuccessCriteriaMet", "Complete")
        status = {"startTime": now, "conditions": [
            {"type": condition, "status": "True", "reason": "Told", "message": "by the test", "lastTransitionTime": now}
            for condition in conditions]}
        status |= {"failed": 1} if failed else {"succeeded": 1, "completionTime": now}
        self.cluster.call("PATCH", f"/apis/batch/v1/namespaces/{self.namespace}/jobs/{name}/status", {"status": status},
                          kind="application/merge-patch+json")


# --- what is tried ------------------------------------------------------------------------------

def strict_schemas(cluster, folder):
    """The server's own description of what it takes, a file a kind, in which unknown fields are errors."""
    document = cluster.call("GET", "/openapi/v2")
    for definition in document["definitions"].values():
        if definition.get("format") == "int-or-string":
            definition.clear()
            definition["type"] = ["integer", "string"]
        elif "properties" in definition:
            definition.setdefault("additionalProperties", False)
    folder.mkdir()
    (folder / "definitions.json").write_text(json.dumps({"definitions": document["definitions"]}))
    for name, definition in document["definitions"].items():
        for kind in definition.get("x-kubernetes-group-version-kind", ()):
            parts = [kind["kind"].lower(), *filter(None, (kind["group"].split(".")[0], kind["version"]))]
            (folder / f"{'-'.join(parts)}.json").write_text(json.dumps({"$ref": f"definitions.json#/definitions/{name}"}))
    return f"{folder}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json"


def check_manifests(cluster):
    """helm lint, and kubeconform of what is rendered."""
    schemas = strict_schemas(cluster, cluster.folder / "schemas")

    def conforms(manifests):
        return run(TOOLS / "kubeconform", "-strict", "-summary", "-schema-location", schemas, "-", text=manifests, check=False)

    for name, options in VARIANTS.items():
        cluster.helm("lint", "--strict", CHART, *options)
        manifests = cluster.helm("template", "shop", CHART, "--kube-version", KUBERNETES, "--namespace", "shop", *options).stdout
        done = conforms(manifests)
        assert done.returncode == 0, done.stdout
        say(f"{name}: lint and kubeconform -strict: {done.stdout.strip()}")
    misspelt = conforms(manifests.replace("revisionHistoryLimit", "revisionHistoryLimits"))
    assert misspelt.returncode != 0 and "revisionHistoryLimits" in misspelt.stdout, misspelt.stdout


def make_namespace(cluster, namespace, settings):
    """As deploy/helm/README.md says."""
    cluster.kubectl("create", "namespace", namespace)
    cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    # Which Kubernetes' controllers would make.
    cluster.kubectl("create", "serviceaccount", "default", "--namespace", namespace)
    cluster.kubectl("create", "secret", "generic", "shop", "--namespace", namespace,
                    f"--from-file={settings['SECRETS_DIR']}", f"--from-literal=service_keys={settings['SERVICE_KEYS']}")


def check_pods(cluster, namespace, options):
    """The server takes every pod that the chart describes, where only restricted ones are let in."""
    count = 0
    for document in yaml.safe_load_all(cluster.helm("template", "shop", CHART, "--kube-version", KUBERNETES, "--namespace", namespace, *options).stdout):
        if document and document["kind"] in ("Deployment", "StatefulSet", "Job"):
            template = copy.deepcopy(document["spec"]["template"])
            pod = {"apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
                   "metadata": template["metadata"] | {"name": document["metadata"]["name"]}}
            # Claims are made with a StatefulSet's pods, and their volumes added then.
            for claim in document["spec"].get("volumeClaimTemplates", ()):
                pod["spec"].setdefault("volumes", []).append(
                    {"name": claim["metadata"]["name"], "persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}})
            path = f"/api/v1/namespaces/{namespace}/pods?dryRun=All&fieldValidation=Strict"
            try:
                cluster.call("POST", path, pod)
            except urllib.error.HTTPError as error:
                raise AssertionError(f"{pod['metadata']['name']}: {error.read().decode()}") from None
            count += 1
    pod["spec"]["securityContext"] = {}  # then it may run as root
    try:
        cluster.call("POST", path, pod)
    except urllib.error.HTTPError as error:
        refusal = error.read().decode()
        assert error.code == 403 and "restricted" in refusal, refusal
    else:
        raise AssertionError("a pod that may run as root was let in: this shows nothing")
    say(f"{count} pods would be let in as restricted, one that may run as root would not")


def templates(cluster, namespace):
    return {name: json.dumps(one["spec"]["template"], sort_keys=True) for name, one in cluster.deployments(namespace).items()}


def upgrade(cluster, namespace, *options, failing=(), check=True):
    with Jobs(cluster, namespace, failing) as jobs:
        done = cluster.helm("upgrade", "shop", CHART, "--namespace", namespace, "--timeout", "2m", *options, check=check)
    return done, [name for name, _ in jobs.seen]


def check_upgrades(cluster, namespace):
    """Of a release that has been installed by the defaults."""
    before = templates(cluster, namespace)
    generations = {name: one["metadata"]["generation"] for name, one in cluster.deployments(namespace).items()}

    def changed():
        now = cluster.deployments(namespace)
        different = {name for name, one in now.items() if one["metadata"]["generation"] != generations[name]}
        generations.update({name: one["metadata"]["generation"] for name, one in now.items()})
        return different

    def concerns(what, wanted, *options):
        _, jobs = upgrade(cluster, namespace, *options)
        found = changed()
        assert found == set(wanted), f"{what} made {sorted(found)} anew, not {sorted(wanted)}"
        assert jobs == HOOKS, jobs
        say(f"upgrade: {what} makes anew {'all' if set(wanted) == set(PROCESSES) else ', '.join(wanted) or 'nothing'}")

    concerns("nothing new", ())
    setting = ("--set-string", "processes.orders.settings.ORDER_MAX_PENDING=7")
    concerns("a setting of orders", {"orders"}, *setting)
    concerns("a setting of all", set(PROCESSES), *setting, "--set", "settings.LOG_LEVEL=debug")
    cluster.kubectl("patch", "secret", "shop", "--namespace", namespace, "--type", "merge",
                    "--patch", json.dumps({"stringData": {"stock_postgres_password": "another"}}))
    concerns("a password of stock", {"stock"}, *setting, "--set", "settings.LOG_LEVEL=debug")
    with_image = (*setting, "--set", "settings.LOG_LEVEL=debug", "--set", "image.tag=2.0.0")
    concerns("another image", set(PROCESSES), *with_image)

    done, jobs = upgrade(cluster, namespace, "--set", "image.tag=3.0.0", failing=("migrate",), check=False)
    assert done.returncode != 0 and jobs == HOOKS, (done, jobs)
    assert changed() == set(), "an upgrade whose migration has failed has changed something"
    assert "2.0.0" in templates(cluster, namespace)["orders"]
    assert "migrate" in cluster.listed(namespace, "apis/batch/v1", "jobs"), "its log is gone"
    say("an upgrade whose migration fails is refused and changes nothing; the job stays, for its log")

    with Jobs(cluster, namespace) as jobs:
        cluster.helm("rollback", "shop", "1", "--namespace", namespace, "--timeout", "2m")
    assert not jobs.seen, jobs.seen
    # stock's password is not a part of the release: its checksum is that of revision 1 again.
    assert templates(cluster, namespace) == before, "a rollback did not bring back what was"
    assert changed() == set(PROCESSES)
    say("a rollback to revision 1 brings back all of it, and runs no job")
    concerns("nothing new, after that,", {"stock"})  # whose password is another than at revision 1


def left(cluster, namespace):
    """What of the chart is in the namespace."""
    groups = {"api/v1": ("services", "configmaps", "serviceaccounts"), "apis/apps/v1": ("deployments", "statefulsets"),
              "apis/batch/v1": ("jobs",), "apis/policy/v1": ("poddisruptionbudgets",),
              "apis/autoscaling/v2": ("horizontalpodautoscalers",), "apis/networking.k8s.io/v1": ("networkpolicies", "ingresses")}
    return [f"{kinds}/{name}" for group, listed in groups.items() for kinds in listed
            for name in cluster.listed(namespace, group, kinds) if (kinds, name) != ("serviceaccounts", "default")]


def check_release(cluster, name, options, settings):
    namespace = f"shop-{name}"
    make_namespace(cluster, namespace, settings)
    with Jobs(cluster, namespace) as jobs:
        done = cluster.helm("install", "shop", CHART, "--namespace", namespace, "--timeout", "2m", *options)
        demo = "demo.enabled: PostgreSQL" in done.stdout
        if demo:  # these jobs are no hooks: helm does not wait for them
            wait_for("the jobs", lambda: len(jobs.seen) == len(HOOKS), 30)
    if demo:
        assert sorted(name for name, _ in jobs.seen) == sorted(f"{hook}-1" for hook in HOOKS), jobs.seen
    else:
        assert jobs.seen == [(hook, 0) for hook in HOOKS], jobs.seen
        say(f"{name}: {', '.join(HOOKS)} ended, in this order, before there was any Deployment")
    found = left(cluster, namespace)
    assert set(PROCESSES) == {name for name in cluster.deployments(namespace) if name in PROCESSES}
    say(f"{name}: installed, {len(found)} objects")
    check_pods(cluster, namespace, options)
    if name == "defaults":
        check_upgrades(cluster, namespace)
    elif demo:
        def present():
            return sorted(cluster.listed(namespace, "apis/batch/v1", "jobs"))
        upgrade(cluster, namespace, *options, "--set", "settings.LOG_LEVEL=debug")
        assert present() == sorted(f"{hook}-2" for hook in HOOKS), present()
        cluster.helm("rollback", "shop", "1", "--namespace", namespace)
        assert present() == sorted(f"{hook}-1" for hook in HOOKS), present()
        say(f"{name}: upgraded and rolled back, with the jobs of each revision")
    cluster.helm("uninstall", "shop", "--namespace", namespace)
    wait_for("nothing to be left", lambda: not left(cluster, namespace), 30)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--build", action="store_true", help="bring the tools, however long it takes")
    args = parser.parse_args()
    if args.build:
        subprocess.run([REPO / "tests/kubernetes/install.sh"], check=True)
    missing = [name for name in NEEDED if not (TOOLS / name).exists()]
    if missing:
        print(f"skipped: there is no {', '.join(missing)}; tests/kubernetes/run.py --build brings them")
        sys.exit(SKIPPED)
    with tempfile.TemporaryDirectory() as folder:
        env = Path(folder) / "env"
        run(REPO / "deploy/local/stack.py", "free-env", "--out", env)
        settings = Settings.read(env)
        cluster = Cluster(folder)
        try:
            cluster.await_ready()
            assert cluster.call("GET", "/version")["gitVersion"] == f"v{KUBERNETES}"
            check_manifests(cluster)
            for name, options in VARIANTS.items():
                check_release(cluster, name, options, settings)
        except BaseException:
            print(cluster.last_words(), file=sys.stderr)
            raise
        finally:
            cluster.stop()
    say("everything works; no pod has run")


if __name__ == "__main__":
    main()
