#!/usr/bin/python3
"""Does the Helm chart say what docker-compose.yml, deploy/services and the protos say?

What the chart renders is looked at where helm is: on the path, or brought by tests/kubernetes/run.py."""

import functools
import ipaddress
import json
import os
import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import yaml

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "deploy/local"))

from settings import DATABASES, KAFKA_PASSWORDS, PROCESSES, READERS, REDIS_USERS, ROLES, SERVICES, TOPICS, parse  # pylint: disable=wrong-import-position

CHART = REPO / "deploy/helm"
HELM = shutil.which("helm", path=f"{REPO}/.local/kubernetes/bin{os.pathsep}{os.environ.get('PATH', '')}")
KUBERNETES = "1.34.2"
# What the chart is rendered with, by a name.
VARIANTS = {"defaults": (), "demo": ("--set", "demo.enabled=true"),
            **{name: ("-f", CHART / f"values-{name}.yaml") for name in ("minikube", "operators", "tls")}}
SET = r"\$\{(\w+):-[^}]*\}"  # what Compose takes out of .env


def read(name):
    return (REPO / name).read_text()


@functools.cache
def values():
    return yaml.safe_load((CHART / "values.yaml").read_text())


def table():
    return values()["processes"]


@functools.cache
def compose(name="docker-compose.yml"):
    return yaml.safe_load(read(name))["services"]


def taken_settings(container):
    """Settings of a container that are up to whoever runs it: taken out of .env under their own name."""
    return {name for name, value in compose()[container]["environment"].items()
            if (taken := re.search(SET, str(value))) and taken[1] == name}


def secret_files(container, name="docker-compose.yml"):
    """File -> secret, as Compose gives a container."""
    listed = compose(name)[container].get("secrets", ())
    return dict((one, one) if isinstance(one, str) else (one["target"], one["source"]) for one in listed)


def declared_calls():
    """Process -> those that it calls, by the protos' options, and by Compose for what is HTTP."""
    calls = {name: set() for name in PROCESSES}
    for proto in (REPO / "proto/shop").glob("*/v1/*.proto"):
        callee, text = proto.parent.parent.name, proto.read_text()
        if callee == "api":
            continue
        for listed in re.findall(r"\bservices: \[([^\]]*)\]", text):
            for caller in re.findall(r'"(\w+)"', listed):
                calls[caller].add(callee)
        if re.search(r"option \(google\.api\.http\)", text):
            calls["gateway"].add(callee)
    for caller in SERVICES:  # whose keys check tokens
        calls[caller].add("auth")
    for name in PROCESSES:
        settings = compose()[name]["environment"]
        if "PAYMENT_PROVIDER_URL" in settings:
            calls[name].add("provider")
        if "PROVIDER_WEBHOOK_URL" in settings:
            calls[name].add("gateway")
        calls[name].discard(name)
    return calls


class TheTable(unittest.TestCase):
    def named(self, what):
        return {name for name, process in table().items() if what(process)}

    def test_has_every_process_with_its_ports(self):
        self.assertEqual({name: dict(process.ports) for name, process in PROCESSES.items()},
                         {name: {key: process[field] for key, field in (("PORT", "port"), ("ADMIN_PORT", "adminPort"))
                                 if field in process} for name, process in table().items()})
        schema = json.loads((CHART / "values.schema.json").read_text())
        self.assertEqual(set(PROCESSES), set(schema["properties"]["processes"]["properties"]))

    def test_has_what_each_is_and_uses(self):
        self.assertEqual(set(SERVICES), self.named(lambda process: process["service"]))
        self.assertEqual(set(SERVICES), self.named(lambda process: process["protocol"] == "grpc"))
        self.assertEqual(set(DATABASES), self.named(lambda process: process["migrates"]))
        users = {"postgres": set(ROLES), "kafka": set(KAFKA_PASSWORDS) & set(PROCESSES), "redis": set(REDIS_USERS),
                 "mongodb": {name for name, process in PROCESSES.items() if process.database == "mongo"},
                 "smtp": {name for name in PROCESSES if "SMTP_URL" in compose()[name]["environment"]}}
        for server, names in users.items():
            self.assertEqual(names, self.named(lambda process: server in process["uses"]), server)
        self.assertEqual(READERS, {name: tuple(process["reads"]) for name, process in table().items() if "reads" in process})
        self.assertEqual({name: set(process.groups) for name, process in PROCESSES.items()},
                         {name: set(process["groups"]) for name, process in table().items()})

    def test_lets_nobody_call_but_whom_the_protos_name(self):
        self.assertEqual(declared_calls(), {name: set(process["calls"]) for name, process in table().items()})

    def test_offers_the_settings_that_compose_takes_out_of_env(self):
        everybody = set(values()["settings"])
        for name, process in table().items():
            self.assertEqual(taken_settings(name), set(process["settings"]) | everybody, name)
        self.assertEqual(taken_settings("topics") | {"KAFKA_REPLICATION", "KAFKA_MIN_INSYNC_REPLICAS"},
                         set(values()["jobs"]["topics"]["settings"]))

    def test_has_no_setting_that_no_process_reads(self):
        code = "".join(path.read_text() for folder in ("libs", "services", "gateway") for path in (REPO / folder).rglob("*.cpp"))
        for file in CHART.glob("values*.yaml"):
            given = yaml.safe_load(file.read_text())
            for settings in (given.get("settings", {}), *(process.get("settings", {}) for process in given.get("processes", {}).values())):
                self.assertEqual([], [name for name in settings if f'"{name}"' not in code], file.name)

    def test_has_the_addresses_of_the_compose_file(self):
        orders, notification = (compose()[name]["environment"] for name in ("orders", "notification"))
        given = values()
        self.assertEqual((orders["POSTGRES_HOST"], int(orders["POSTGRES_PORT"])),
                         (given["postgres"]["host"], given["postgres"]["port"]))
        self.assertEqual([orders[f"KAFKA_{name}"] for name in ("BOOTSTRAP_SERVERS", "SECURITY_PROTOCOL", "SASL_MECHANISM")],
                         [given["kafka"][name] for name in ("bootstrapServers", "securityProtocol", "saslMechanism")])
        self.assertEqual(notification["SMTP_URL"], given["smtp"]["url"])

    def test_scales_what_only_consumes_to_as_many_as_its_topics_have_partitions(self):
        for name, process in table().items():
            if process["scaleBy"] == ["lag"]:
                topics = {topic for group in PROCESSES[name].groups.values() for topic in group}
                self.assertLessEqual(process["maxReplicas"], max(TOPICS[topic].partitions for topic in topics), name)
            if "lag" in process["scaleBy"]:
                self.assertTrue(process["groups"], name)

    def test_migrates_by_a_command_that_each_has(self):
        for name in DATABASES:
            self.assertIn(f'RunMigrateCommand("{name}"', read(f"services/{name}/main.cpp"))


class TheMinikubeValues(unittest.TestCase):
    def test_are_those_of_env_example(self):
        offered = parse(read(".env.example"))
        for name, process in yaml.safe_load((CHART / "values-minikube.yaml").read_text())["processes"].items():
            for setting, value in process.get("settings", {}).items():
                if setting != "HTTP_TRUSTED_PROXIES":
                    self.assertEqual(offered[setting], value, f"{setting} of {name}")


def example_for_amazon():
    example = re.search(r"```yaml\n(image:.*?)```", read("deploy/aws.md"), re.S)[1]
    return yaml.safe_load(example.replace("<", "").replace(">", ""))


class AnIngress(unittest.TestCase):
    """Its controller is the one address that the gateway sees, unless the gateway believes what that says of its clients."""

    def test_is_nowhere_turned_on_without_the_networks_of_its_controller(self):
        examples = {file.name: yaml.safe_load(file.read_text()) for file in CHART.glob("values*.yaml")} | {"aws.md": example_for_amazon()}
        with_one = {name: given for name, given in examples.items() if given.get("ingress", {}).get("enabled")}
        self.assertEqual({"values-minikube.yaml", "values-tls.yaml", "aws.md"}, set(with_one))
        for name, given in with_one.items():
            settings = given.get("processes", {}).get("gateway", {}).get("settings", {})
            self.assertIn("HTTP_TRUSTED_PROXIES", settings, name)
            # As the gateway reads it; a network of everybody's would be no better than none.
            networks = [ipaddress.ip_network(one.strip()) for one in settings["HTTP_TRUSTED_PROXIES"].split(",")]
            self.assertTrue(all(network.is_private and network.prefixlen >= 8 for network in networks), name)

    def test_is_refused_by_the_template_without_them(self):
        before = read("deploy/helm/templates/ingress.yaml").split("apiVersion:")[0]
        self.assertRegex(before, r'(?s)if \.Values\.ingress\.enabled .*if not .*HTTP_TRUSTED_PROXIES.*fail "ingress\.enabled .*HTTP_TRUSTED_PROXIES')


class TheDocuments(unittest.TestCase):
    """deploy/aws.md and the chart's README name nothing that is not there."""

    # Variables of libpq and psql, of Prometheus' adapter, and what Kafka and Amazon call their own.
    OTHERS = {"PGHOST", "PGUSER", "PGPASSWORD", "PGSSLMODE", "PGSSLROOTCERT"}
    texts = {name: read(name) for name in ("deploy/aws.md", "deploy/helm/README.md", "docs/deploy.md")}

    def test_name_settings_that_are_read(self):
        code = "".join(path.read_text() for folder in ("libs", "services", "gateway") for path in (REPO / folder).rglob("*.cpp"))
        known = set(parse(read(".env.example"))) | {f"{name.upper()}_{kind}" for name in SERVICES for kind in ("ADDR", "PORT", "ADMIN_PORT")}
        known |= {f"{name.upper()}_READS" for name in READERS}
        files = {f"{name}_FILE" for name in re.findall(r'Secret\("(\w+)"\)', code)} | {
            f"{prefix}{rest}" for prefix in ("TLS_", "HTTP_TLS_") for rest in re.findall(r'variable\("(\w+)"\)', code)}
        for name, text in self.texts.items():
            named = set(re.findall(r'[`"{ ]([A-Z][A-Z0-9]*_[A-Z0-9_]*[A-Z0-9])(?==[^`]*`|[`":])', text)) | set(re.findall(r"\bPG[A-Z]+", text))
            self.assertTrue(named or name == "docs/deploy.md")
            unknown = [one for one in named if one not in known | files | self.OTHERS and f'"{one}"' not in code]
            self.assertEqual([], unknown, name)

    def test_name_values_of_the_chart(self):
        for name, text in self.texts.items():
            for path in re.findall(r"`((?:processes|jobs|settings|secrets|demo|tls|autoscaling|networkPolicy|ingress|image|postgres|kafka)\.[\w.]+)(?:=[^`]*)?`", text):
                found = values()
                if path in ("tls.crt", "tls.key"):  # keys of a Secret
                    continue
                for word in path.split("."):
                    self.assertIn(word, found, f"{path} in {name}")
                    found = found[word]

    def test_name_files_that_are_there(self):
        for name, text in self.texts.items():
            for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
                if "://" not in link:
                    self.assertTrue((REPO / name).parent.joinpath(link).exists(), f"{link} in {name}")

    def test_values_for_amazon_are_values_of_the_chart(self):
        def check(given, known, path):
            for key, value in given.items():
                self.assertIn(key, known, path)
                if isinstance(value, dict) and path != ".ingress" and isinstance(known[key], dict):
                    check(value, known[key], f"{path}.{key}")
        check(example_for_amazon(), values(), "")


@functools.cache
def rendered(*options):
    done = subprocess.run([HELM, "template", "shop", CHART, "--kube-version", KUBERNETES, *options],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def find(kind, name, *options):
    for document in rendered(*options):
        if (document["kind"], document["metadata"]["name"]) == (kind, name):
            return document
    raise AssertionError(f"there is no {kind} {name}")


def pods(*options):
    """Name -> the pod's description, of everything that makes pods."""
    return {document["metadata"]["name"]: document["spec"]["template"]["spec"] for document in rendered(*options)
            if document["kind"] in ("Deployment", "StatefulSet", "Job")}


def environment(process, *options):
    container = find("Deployment", process, *options)["spec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"configMapRef": {"name": process}}]
    return find("ConfigMap", process, *options)["data"] | {one["name"]: one for one in container.get("env", ())}


def files(pod, volume="secrets"):
    """File -> (Secret, key) under /run/secrets."""
    found = next(one for one in pod["volumes"] if one["name"] == volume)
    sources = [one["secret"] for one in found["projected"]["sources"]] if "projected" in found else [found["secret"]]
    return {item["path"]: (source.get("name") or source["secretName"], item["key"]) for source in sources for item in source["items"]}


def bytes_of(limit):
    """Of 256m, 1g or 256Mi, 1Gi."""
    number, unit = re.fullmatch(r"(\d+)([mg]|[MG]i)", limit).groups()
    return int(number) << {"m": 20, "g": 30}[unit[0].lower()]


@unittest.skipUnless(HELM, "there is no helm: tests/kubernetes/run.py brings it")
class WhatIsRendered(unittest.TestCase):
    def test_gives_each_process_what_compose_does(self):
        for name in PROCESSES:
            given = environment(name)
            for setting, value in compose()[name]["environment"].items():
                if "${" in str(value):
                    continue
                self.assertEqual(str(value), given.get(setting), f"{setting} of {name}")
            self.assertEqual(name in SERVICES, "SERVICE_KEYS" in compose()[name]["environment"], name)
            if name in SERVICES:
                self.assertEqual({"name": "shop", "key": "service_keys"}, given["SERVICE_KEYS"]["valueFrom"]["secretKeyRef"])
            optional = re.findall(SET, " ".join(map(str, compose()[name]["environment"].values())))
            self.assertTrue(set(given) <= set(compose()[name]["environment"]) | set(optional), name)

    def test_passes_on_what_is_set(self):
        options = [word for name, process in table().items() for setting in process["settings"]
                   for word in ("--set-string", f"processes.{name}.settings.{setting}=33554432")]
        for name, process in table().items():
            for setting in process["settings"]:
                self.assertIn("33554432", environment(name, *options)[setting], f"{setting} of {name}")

    def test_gives_each_process_its_own_secrets_as_files(self):
        for name in PROCESSES:
            wanted = {file: ("shop", secret) for file, secret in secret_files(name).items() if file != "super_admin_password"}
            self.assertEqual(wanted, files(pods()[name]), name)
        with_admin = ("--set", "processes.auth.settings.SUPER_ADMIN_EMAIL=a@b.c")
        self.assertEqual({file: ("shop", secret) for file, secret in secret_files("auth").items()}, files(pods(*with_admin)["auth"]))
        self.assertEqual("/run/secrets/super_admin_password", environment("auth", *with_admin)["SUPER_ADMIN_PASSWORD_FILE"])
        for name, pod in pods(*VARIANTS["demo"]).items():
            for container in pod["containers"]:
                shown = [one["name"] for one in container.get("env", ()) if one.get("value")
                         and re.search(r"(PASSWORD|_KEY|_URI)$", one["name"])]
                self.assertEqual([], shown, name)

    def test_gives_tls_as_compose_does(self):
        secrets_of = {"tls_ca": "ca.crt", "tls_certificate": "tls.crt", "tls_key": "tls.key",
                      "https_certificate": "tls.crt", "https_key": "tls.key"}
        options = ("--set", "tls.enabled=true")
        for name, container in compose("deploy/docker/tls.yml").items():
            given = environment(name, *options)
            self.assertEqual(container["environment"], {key: given.get(key) for key in container["environment"]}, name)
            plain, now = files(pods()[name]), files(pods(*options)[name])
            added = {file: source for file, source in now.items() if file not in plain}
            self.assertEqual(set(secret_files(name, "deploy/docker/tls.yml")), set(added), name)
            for file, (secret, key) in added.items():
                owner = "https-tls" if file.startswith("https") or name == "provider" else f"{name}-tls"
                self.assertEqual((owner, secrets_of[file]), (secret, key), name)
        self.assertEqual(bytes_of(compose("deploy/docker/tls.yml")["gateway"]["mem_limit"]),
                         bytes_of(pods(*options)["gateway"]["containers"][0]["resources"]["limits"]["memory"]))

    def test_limits_memory_as_compose_does(self):
        for name, pod in pods(*VARIANTS["demo"]).items():
            name = re.sub(r"-1$", "", name)
            limit = compose()["mongo" if name == "mongo-users" else name]["mem_limit"] if name in compose() else "64m"
            for container in pod["containers"]:
                self.assertEqual(bytes_of(limit), bytes_of(container["resources"]["limits"]["memory"]), name)

    def test_demo_has_the_servers_of_the_compose_file(self):
        for name in ("postgres", "redis", "kafka", "mongo", "mailpit"):
            server, container = compose()[name], pods(*VARIANTS["demo"])[name]["containers"][0]
            # Which the image mongo-users is made of.
            image = re.search(r"FROM (\S+) AS mongo-users", read("deploy/docker/Dockerfile"))[1] if name == "mongo" else container["image"]
            self.assertEqual(server["image"], image)
            self.assertEqual(server.get("command", []), container.get("args") or container.get("command") or [], name)
            given = {one["name"]: one["value"] for one in container.get("env", ())}
            for setting, value in server.get("environment", {}).items():
                value = re.sub(r",?VIEWER:[^,]*", "", re.sub(SET.replace("[^}]*", r"([^}]*)"), r"\2", str(value)))
                self.assertEqual(value, given[setting], f"{setting} of {name}")
            wanted = {file: ("shop", secret) for file, secret in secret_files(name).items()}
            if name == "mongo":
                wanted = {file: ("shop", secret) for file, secret in secret_files("mongo-users").items()}
            if wanted:
                self.assertEqual(wanted, files(pods(*VARIANTS["demo"])[name]))
            probe = container["readinessProbe"]["exec"]["command"]
            self.assertEqual(server["healthcheck"]["test"], ["CMD", *probe], name)

    def test_has_the_jobs_of_the_compose_file(self):
        for name in ("databases", "topics"):
            wanted = {file: ("shop", secret) for file, secret in secret_files(name).items()}
            self.assertEqual(wanted, files(pods()[name]))
            given = {one["name"]: one["value"] for one in pods()[name]["containers"][0]["env"]}
            for setting, value in compose()[name]["environment"].items():
                if "${" not in value:
                    self.assertEqual(value, given[setting], setting)
        self.assertEqual(compose()["topics"]["command"], pods()["topics"]["containers"][0]["args"])
        migrate = pods()["migrate"]
        self.assertEqual(set(DATABASES), {one["name"] for one in migrate["containers"]})
        for container in migrate["containers"]:
            name = container["name"]
            self.assertEqual((["migrate"], pods()[name]["containers"][0]["image"]), (container["args"], container["image"]))
            self.assertEqual({"postgres_password": ("shop", f"{name}_postgres_password")}, files(migrate, name))
            for one in container["env"]:
                self.assertEqual(environment(name)[one["name"]], one["value"])

    def test_gives_no_pod_more_rights_than_it_needs(self):
        for variant in VARIANTS.values():
            for name, pod in pods(*variant).items():
                self.assertIs(False, pod["automountServiceAccountToken"], name)
                # Or AUTH_PORT would be tcp://10.… and a process would not start.
                self.assertIs(False, pod["enableServiceLinks"], name)
                self.assertTrue(pod["securityContext"]["runAsNonRoot"], name)
                self.assertEqual("RuntimeDefault", pod["securityContext"]["seccompProfile"]["type"], name)
                for container in pod["containers"]:
                    rights = container["securityContext"]
                    self.assertEqual(["ALL"], rights["capabilities"]["drop"], name)
                    self.assertIs(False, rights["allowPrivilegeEscalation"], name)
                    if name not in ("postgres", "kafka", "mongo"):
                        self.assertTrue(rights["readOnlyRootFilesystem"], name)

    def test_lets_nobody_in_but_to_the_gateway(self):
        for variant in VARIANTS.values():
            for document in rendered(*variant):
                if document["kind"] == "Ingress":
                    backends = [path["backend"]["service"] for rule in document["spec"]["rules"] for path in rule["http"]["paths"]]
                    self.assertEqual([{"name": "gateway", "port": {"name": "http"}}], backends)
                if document["kind"] == "Service":
                    self.assertIn(document["spec"].get("type", "ClusterIP"), ("ClusterIP",))

    def test_lets_a_process_be_called_by_its_callers_alone(self):
        clients = values()["networkPolicy"]["clients"]
        calls = declared_calls()
        for name in PROCESSES:
            policy = find("NetworkPolicy", name)["spec"]
            self.assertEqual(["Ingress", "Egress"], policy["policyTypes"])
            callers, admin = set(), False
            for rule in policy["ingress"] or ():
                self.assertEqual(1, len(rule["ports"]))
                if rule["ports"] == [{"port": "admin"}]:
                    self.assertEqual(values()["networkPolicy"]["monitoring"], rule["from"])
                    admin = True
                    continue
                self.assertEqual([{"port": table()[name]["protocol"]}], rule["ports"])
                for peer in rule["from"]:
                    if name == "gateway" and peer in clients:
                        continue
                    callers.add(peer["podSelector"]["matchLabels"]["app.kubernetes.io/name"])
            self.assertTrue(admin)
            self.assertEqual({caller for caller in calls if name in calls[caller]}, callers, name)
            called = {rule["to"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/name"]
                      for rule in policy["egress"] if "podSelector" in rule.get("to", [{}])[0]}
            self.assertEqual(calls[name], called, name)

    def test_lets_spans_out_to_where_they_are_to_go(self):
        for url, port in (("http://jaeger.monitoring:4318", 4318), ("https://spans.example.com/otlp", 443)):
            options = ("--set", f"settings.OTEL_EXPORTER_OTLP_ENDPOINT={url}")
            for name in PROCESSES:
                self.assertNotIn({"ports": [{"port": port}]}, find("NetworkPolicy", name)["spec"]["egress"])
                self.assertIn({"ports": [{"port": port}]}, find("NetworkPolicy", name, *options)["spec"]["egress"])
                self.assertEqual(url, environment(name, *options)["OTEL_EXPORTER_OTLP_ENDPOINT"])

    def test_probes_grpc_where_kubernetes_can(self):
        for name in PROCESSES:
            plain, tls = (pods(*options)[name]["containers"][0] for options in ((), VARIANTS["tls"]))
            if name in SERVICES:
                self.assertEqual({"port": PROCESSES[name].ports["PORT"]}, plain["livenessProbe"]["grpc"])
            for container in (plain, tls):
                self.assertEqual({"path": "/readyz", "port": "admin"}, container["readinessProbe"]["httpGet"])
            self.assertEqual({"path": "/healthz", "port": "admin"}, tls["livenessProbe"]["httpGet"])

    def test_makes_anew_only_the_pods_that_a_changed_setting_concerns(self):
        def templates(*options):
            return {name: json.dumps(find("Deployment", name, *options)["spec"]["template"]) for name in PROCESSES}
        before = templates()
        for option, concerned in (("processes.orders.settings.ORDER_MAX_PENDING=7", {"orders"}), ("smtp.url=smtp://elsewhere:25", {"notification"}),
                                  ("settings.LOG_LEVEL=debug", set(PROCESSES)), ("postgres.host=elsewhere", set(ROLES))):
            after = templates("--set-string", option)
            self.assertEqual(concerned, {name for name in PROCESSES if before[name] != after[name]}, option)

    def test_scales_by_lag_where_that_is_on(self):
        options = ("--set", "autoscaling.lag.enabled=true")
        for name, process in table().items():
            if not process["scaleBy"]:
                continue
            metrics = find("HorizontalPodAutoscaler", name, *options)["spec"]["metrics"]
            groups = {one["external"]["metric"]["selector"]["matchLabels"]["group"] for one in metrics if one["type"] == "External"}
            self.assertEqual(set(PROCESSES[name].groups) if "lag" in process["scaleBy"] else set(), groups)
            self.assertNotIn("replicas", find("Deployment", name, *options)["spec"])

    def test_refuses_an_ingress_before_a_gateway_that_believes_no_proxy(self):
        empty = ("--set-string", "processes.gateway.settings.HTTP_TRUSTED_PROXIES=")
        for options in (("--set", "ingress.enabled=true"), (*VARIANTS["minikube"], *empty), (*VARIANTS["tls"], *empty)):
            done = subprocess.run([HELM, "template", "shop", CHART, "--kube-version", KUBERNETES, *options],
                                  capture_output=True, text=True, check=False)
            self.assertNotEqual(0, done.returncode, options)
            self.assertIn("processes.gateway.settings.HTTP_TRUSTED_PROXIES", done.stderr)
        for place in ("processes.gateway.settings", "settings"):
            options = ("--set", "ingress.enabled=true", "--set-string", f"{place}.HTTP_TRUSTED_PROXIES=10.0.0.0/8")
            self.assertIsNotNone(find("Ingress", "gateway", *options))
            self.assertEqual("10.0.0.0/8", environment("gateway", *options)["HTTP_TRUSTED_PROXIES"])

    def test_refuses_what_is_misspelt(self):
        for option in ("processes.orders.replicsa=3", "kafka.bootstrapServers=kafka", "processes.orders.settings.order_max=1", "tsl.enabled=true"):
            done = subprocess.run([HELM, "template", "shop", CHART, "--kube-version", KUBERNETES, "--set", option],
                                  capture_output=True, text=True, check=False)
            self.assertNotEqual(0, done.returncode, option)


if __name__ == "__main__":
    unittest.main()
