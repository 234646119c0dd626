"""The compose file and the Kubernetes manifests of a cluster, tested without running them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from gateway.cli import COMMANDS
from gateway.cluster.dispatch import ABORT_AFTER_S, DRAIN_S
from gateway.settings import Settings, load
from gateway.web.server import ABORT_S, SHUTDOWN_GRACE_S

FOLDER = Path(__file__).parents[3] / "packaging" / "cluster"
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text("utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
KUSTOMIZATION = yaml.safe_load((FOLDER / "kubernetes" / "kustomization.yaml").read_text("utf-8"))

OLDEST_KUBERNETES = "1.29"


def manifests() -> Iterator[dict[str, Any]]:
    for name in KUSTOMIZATION["resources"]:
        yield from yaml.safe_load_all((FOLDER / "kubernetes" / name).read_text("utf-8"))


RESOURCES = {f"{each['kind']} {each['metadata']['name']}": each for each in manifests()}
PODS = {
    each["metadata"]["name"]: each["spec"]["template"]["spec"]
    for each in RESOURCES.values()
    if each["kind"] in ("Deployment", "Job")
}


def settings_of(environ: Mapping[str, object]) -> Settings:
    """The settings that a process has by these variables. Raises SettingsError."""
    given = {name: str(value) for name, value in environ.items()}
    given["VERIPLEX_STORAGE__PASSWORD"] = "env:PASSWORD"
    given = {name: value.partition(":-")[2].rstrip("}") or value for name, value in given.items()}
    return load(None, environ={**given, "PASSWORD": "p"})


def stopping_s(settings: Settings) -> float:
    """How long a process takes at most to stop."""
    return settings.server.drain_s + SHUTDOWN_GRACE_S + ABORT_S + DRAIN_S + ABORT_AFTER_S


# -- compose -----------------------------------------------------------------------------


def test_the_compose_file_has_all_parts_of_a_cluster() -> None:
    assert set(SERVICES) == {"database", "valkey", "migrate", "server", "worker", "proxy"}
    ours = {name: SERVICES[name] for name in ("migrate", "server", "worker")}
    assert {name: each["command"] for name, each in ours.items()} == {
        "migrate": ["migrate"],
        "server": ["serve", "--no-work"],
        "worker": ["worker"],
    }
    assert [ours[name]["deploy"]["replicas"] for name in ("server", "worker")] == [2, 2]
    assert {each["command"][0] for each in ours.values()} <= set(COMMANDS)
    assert ours["migrate"]["depends_on"] == {"database": {"condition": "service_healthy"}}
    for name in ("server", "worker"):
        assert ours[name]["depends_on"]["migrate"] == {
            "condition": "service_completed_successfully"
        }


def test_the_settings_of_the_compose_file_are_settings() -> None:
    settings = settings_of(SERVICES["server"]["environment"])
    assert settings.storage.url == "postgresql://veriplex@database/veriplex"
    assert settings.shared.url == "valkey://valkey:6379"
    assert settings.server.public_url == "http://localhost:8025"
    grace_s = float(SERVICES["worker"]["stop_grace_period"].rstrip("s"))
    assert grace_s > stopping_s(settings)


def test_each_name_of_the_compose_file_is_that_of_a_part() -> None:
    secrets = {name for each in SERVICES.values() for name in each.get("secrets", ())}
    assert secrets == set(COMPOSE["secrets"])
    assert set(COMPOSE["volumes"]) == {"database"}
    configs = {each["source"] for each in SERVICES["proxy"]["configs"]}
    assert configs == set(COMPOSE["configs"])
    caddy = COMPOSE["configs"]["proxy"]["content"]
    assert caddy.count("{") == caddy.count("}")
    assert f"server {Settings().server.port}" in caddy
    assert str(Settings().work.port) in " ".join(SERVICES["worker"]["healthcheck"]["test"])
    published = [port for each in SERVICES.values() for port in each.get("ports", ())]
    assert published == ["127.0.0.1:8025:8025"]


# -- Kubernetes --------------------------------------------------------------------------


@pytest.mark.parametrize("version", [OLDEST_KUBERNETES, kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", RESOURCES)
def test_kubernetes_takes_the_manifest(name: str, version: str) -> None:
    kubernetes_validate.validate(RESOURCES[name], version, strict=True)


def test_a_wrong_manifest_would_be_found() -> None:
    wrong = {**RESOURCES["Deployment veriplex-worker"], "specs": {}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, OLDEST_KUBERNETES, strict=True)


def test_the_settings_of_the_manifests_are_settings() -> None:
    settings = settings_of(RESOURCES["ConfigMap veriplex"]["data"])
    assert settings.work.host == "0.0.0.0"
    for name, pod in PODS.items():
        (container,) = pod["containers"]
        assert container["args"][0] in COMMANDS
        assert container["envFrom"] == [{"configMapRef": {"name": "veriplex"}}]
        # variables such as VERIPLEX_PORT, of a service of that name
        assert pod["enableServiceLinks"] is False, name
        (mount,) = container["volumeMounts"]
        assert mount["mountPath"] == "/run/secrets/database"


@pytest.mark.parametrize("part", ["server", "worker"])
def test_pods_are_asked_on_their_port_and_have_time_to_stop(part: str) -> None:
    settings = settings_of(RESOURCES["ConfigMap veriplex"]["data"])
    pod = PODS[f"veriplex-{part}"]
    (container,) = pod["containers"]
    port = settings.work.port if part == "worker" else settings.server.port
    assert container["ports"] == [{"name": "http", "containerPort": port}]
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    # longer than a start that waits for a migration
    assert container["livenessProbe"]["initialDelaySeconds"] >= 60
    assert pod["terminationGracePeriodSeconds"] > stopping_s(settings)
    labels = {"app": "veriplex", "part": part}
    deployment = RESOURCES[f"Deployment veriplex-{part}"]["spec"]
    assert deployment["selector"]["matchLabels"] == labels
    assert deployment["template"]["metadata"]["labels"] == labels
    budget = RESOURCES[f"PodDisruptionBudget veriplex-{part}"]["spec"]
    assert budget == {"maxUnavailable": 1, "selector": {"matchLabels": labels}}


def test_the_service_leads_to_the_servers_alone() -> None:
    service = RESOURCES["Service veriplex"]["spec"]
    assert service["selector"] == {"app": "veriplex", "part": "server"}
    scaled = RESOURCES["HorizontalPodAutoscaler veriplex-worker"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == "veriplex-worker"
