#!/usr/bin/env python3
"""Whether compose.yaml is what it says: valid, closed but for nginx, and at one with the files beside it.

  deploy/compose/check.py                  prints what is wrong, if anything; 1 if something is
  deploy/compose/check.py environment NAME prints a service's environment, a variable a line

`scripts/install compose` brings what this needs. Each rule is first shown a file that breaks it.
"""

import copy
import json
import pathlib
import re
import subprocess
import sys
import tempfile

import compose_spec
import yaml

HOME = pathlib.Path(__file__).resolve().parents[2]
SECRETS = "./deploy/compose/secrets/"


def mounts(service):
    """Source and target of each mount; a name without a slash is a volume's."""
    return [tuple(volume.split(":")[:2]) for volume in service.get("volumes", [])]


def granted(service):
    return {secret if isinstance(secret, str) else secret["source"] for secret in service.get("secrets", [])}


def networks(service):
    return set(service.get("networks", []))


def fits_the_schema(compose, say):
    try:
        compose_spec.PyCompose.from_json(json.dumps(compose)).to_spec()
    except (ValueError, TypeError) as error:
        say(f"is no Compose file: {error}")


def is_hardened(compose, say):
    for name, service in compose["services"].items():
        if not service.get("read_only") or service.get("cap_drop") != ["ALL"] or "cap_add" in service:
            say(f"{name} can write, or has capabilities")
        if service.get("security_opt") != ["no-new-privileges:true"] or service.get("privileged"):
            say(f"{name} may gain privileges")
        if re.fullmatch(r"[1-9]\d*:\d+", str(service.get("user"))) is None:
            say(f"{name} is root, or whoever its image likes")
        if "build" not in service and re.fullmatch(r".+:\d+\.\d+[^:]*", service["image"]) is None:
            say(f"{name} has an image of no particular version")


def is_closed(compose, say):
    for name, service in compose["services"].items():
        if name != "nginx" and ("ports" in service or "front" in networks(service)):
            say(f"{name} can be reached past nginx")
        if "network_mode" in service or not networks(service):
            say(f"{name} is on no network of its own")
    for port in compose["services"]["nginx"]["ports"]:
        if not port.startswith("127.0.0.1:"):
            say(f"others than this machine reach port {port}")
    for name, network in compose["networks"].items():
        if name != "front" and not (network or {}).get("internal"):
            say(f"the network {name} has a way out")
    neighbours = {"redis": {"gateway"}, "application": {"nginx"}, "keycloak": {"nginx"}}
    for name, wanted in neighbours.items():
        own = networks(compose["services"][name])
        found = {other for other, service in compose["services"].items() if own & networks(service)} - {name}
        if found != wanted:
            say(f"{name} has {sorted(found)} for neighbours")


def names_what_there_is(compose, say):
    for kind, used in {"secrets": granted, "networks": networks}.items():
        users = set().union(*(used(service) for service in compose["services"].values()))
        if users != set(compose[kind]):
            say(f"{kind}: {sorted(users ^ set(compose[kind]))} is declared or used alone")
    for name, service in compose["services"].items():
        for source, _ in mounts(service):
            if not ((HOME / source).exists() if source.startswith("./") else source in compose["volumes"]):
                say(f"{name} mounts {source}, which is not there")
        for variable, value in service.get("environment", {}).items():
            if variable.endswith("_FILE") and value.removeprefix("/run/secrets/") not in granted(service):
                say(f"{name}: {variable} names no secret of its own")
        if "build" in service:
            build = service["build"] if isinstance(service["build"], dict) else {"context": service["build"]}
            stages = (HOME / build["context"] / "Dockerfile").read_text()
            if "target" in build and not re.search(rf"^FROM .* AS {build['target']}$", stages, re.M):
                say(f"{name} is built to a stage that the Dockerfile has not")


def has_its_secrets_prepared(compose, say):
    wanted = {secret["file"].removeprefix(SECRETS) for secret in compose["secrets"].values()}
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([HOME / "deploy/compose/prepare", "--into", folder], check=True, stdout=subprocess.DEVNULL)
        made = {path.name for path in pathlib.Path(folder).iterdir()}
    if made != wanted:
        say(f"prepare and the secrets differ in {sorted(made ^ wanted)}")


def agrees_with_its_files(compose, say):
    services = compose["services"]
    gateway, keycloak = services["gateway"]["environment"], services["keycloak"]["environment"]
    nginx = (HOME / "deploy/compose/nginx/nginx.conf").read_text()
    redis = (HOME / "deploy/compose/redis/redis.conf").read_text()
    realm = json.loads((HOME / "deploy/compose/keycloak/realm.json").read_text())
    for owner, text in {"nginx": nginx, "redis": redis}.items():
        for secret in re.findall(r"/run/secrets/(\w+)", text):
            if secret not in granted(services[owner]):
                say(f"{owner}: its settings name the secret {secret}, which it has not")
    for host in re.findall(r"proxy_pass http://([\w-]+):", nginx):
        if not networks(services.get(host, {})) & networks(services["nginx"]):
            say(f"nginx passes requests on to {host}, which it cannot reach")
    hosts = {re.sub(r"https://(.*):8443", r"\1", gateway[name]) for name in ("PUBLIC_URL", "KEYCLOAK_URL")}
    served = set(re.findall(r"server_name ([\w.]+\.test);", nginx))
    if hosts != served:
        say(f"nginx serves {sorted(served)}, and the settings speak of {sorted(hosts)}")
    aliases = {alias for network in services["nginx"]["networks"].values() for alias in network.get("aliases", [])}
    if gateway["KEYCLOAK_URL"] != keycloak["KC_HOSTNAME"] or aliases != {gateway["KEYCLOAK_URL"][8:-5]}:
        say("the provider has another name for the gateway than for itself")
    client = realm["clients"][0]
    if (realm["realm"], client["clientId"]) != (gateway["KEYCLOAK_REALM"], gateway["OIDC_CLIENT_ID"]):
        say("the realm or its client has another name than the gateway thinks")
    if client["redirectUris"] != [gateway["PUBLIC_URL"] + "/auth/callback"]:
        say("the realm lets nobody back to the gateway")


RULES = [fits_the_schema, is_hardened, is_closed, names_what_there_is, has_its_secrets_prepared, agrees_with_its_files]

# For each rule, something to put at a place of the file, and the rule must speak.
SPOILED = [
    (fits_the_schema, "services.nginx.volume", ["x"]),
    (fits_the_schema, "services.gateway.depends_on.redis.condition", "service_happy"),
    (is_hardened, "services.redis.read_only", False),
    (is_hardened, "services.keycloak.cap_add", ["SYS_ADMIN"]),
    (is_hardened, "services.gateway.user", "0:0"),
    (is_hardened, "services.nginx.image", "nginx:latest"),
    (is_closed, "services.redis.ports", ["6379:6379"]),
    (is_closed, "services.nginx.ports", ["8443:8443"]),
    (is_closed, "services.application.networks", ["application", "store"]),
    (is_closed, "networks.store", {}),
    (names_what_there_is, "services.nginx.volumes", ["./nothing:/etc/nginx:ro"]),
    (names_what_there_is, "services.gateway.secrets", ["session_key"]),
    (names_what_there_is, "services.gateway.build.target", "nothing"),
    (has_its_secrets_prepared, "secrets.other", {"file": SECRETS + "other"}),
    (agrees_with_its_files, "services.gateway.environment.PUBLIC_URL", "https://other.test:8443"),
    (agrees_with_its_files, "services.keycloak.environment.KC_HOSTNAME", "https://other.test:8443"),
    (agrees_with_its_files, "services.nginx.secrets", ["tls_key"]),
]


def offences(rule, compose):
    found = []
    rule(compose, found.append)
    return found


def spoiled(compose, place, value):
    broken = copy.deepcopy(compose)
    *way, last = place.split(".")
    table = broken
    for step in way:
        table = table[step]
    table[last] = value
    return broken


def main(arguments):
    compose = yaml.safe_load((HOME / "compose.yaml").read_text())
    if arguments[:1] == ["environment"]:
        for variable, value in compose["services"][arguments[1]]["environment"].items():
            print(f"{variable}={value}")
        return 0
    for rule, place, value in SPOILED:
        assert offences(rule, spoiled(compose, place, value)), f"{rule.__name__} is silent about {place}"
    found = [offence for rule in RULES for offence in offences(rule, compose)]
    for offence in found:
        print(f"compose.yaml: {offence}", file=sys.stderr)
    return 1 if found else 0


sys.exit(main(sys.argv[1:]))
