"""The manifests are what Kubernetes takes, and locked down as promised."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from service.settings import load
from service.stream.config import TopicsConfig
from tests.deploy.files import DEPLOY, document, documents

KUBERNETES = DEPLOY / "kubernetes"
BASE = KUBERNETES / "base"
KEDA = KUBERNETES / "components" / "keda"
OPERATOR = KUBERNETES / "components" / "prometheus-operator"
EXAMPLE = KUBERNETES / "overlays" / "example"

VERSIONS = ("1.31", "1.34")
# Kinds that are none of Kubernetes' own, so there is no schema of them here.
FOREIGN = {"ScaledObject", "TriggerAuthentication", "PodMonitor", "PrometheusRule"}
KUSTOMIZE = {"Kustomization", "Component"}


def manifests() -> list[Path]:
    """Every file that holds resources; patches and configurations are none."""
    listed = []
    for folder in (BASE, KEDA, OPERATOR, EXAMPLE):
        for name in document(folder / "kustomization.yaml")["resources"]:
            if (folder / name).is_file():
                listed.append(folder / name)
    return listed


def resources() -> dict[tuple[str, str], dict[str, Any]]:
    """Every resource by kind and name."""
    return {
        (resource["kind"], resource["metadata"]["name"]): resource
        for path in manifests()
        for resource in documents(path)
    }


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """(kind, pod's specification) of everything that runs."""
    for (kind, _), resource in resources().items():
        if kind in ("StatefulSet", "Deployment", "Job"):
            yield kind, resource["spec"]["template"]["spec"]


def containers() -> Iterator[dict[str, Any]]:
    for _, pod in pods():
        yield from pod.get("initContainers", [])
        yield from pod["containers"]


def check(resource: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("path", manifests(), ids=lambda path: str(path.relative_to(KUBERNETES)))
def test_kubernetes_takes_the_resources_of(path: Path, version: str) -> None:
    for resource in documents(path):
        assert resource["apiVersion"]
        assert resource["metadata"]["name"]
        if resource["kind"] not in FOREIGN:
            check(resource, version)


def test_the_schema_finds_a_mistake() -> None:
    resource = resources()["StatefulSet", "anomalyd-detection"]
    resource["spec"]["template"]["spec"]["containers"][0]["readOnlyRoot"] = True

    with pytest.raises(kubernetes_validate.ValidationError):
        check(resource, VERSIONS[-1])


def test_kustomizations_name_all_their_files_and_no_others() -> None:
    for folder in (BASE, KEDA, OPERATOR, EXAMPLE):
        kustomization = document(folder / "kustomization.yaml")
        assert kustomization["kind"] in KUSTOMIZE
        named = [folder / name for name in kustomization["resources"] + kustomization.get("components", [])]
        named += [folder / patch["path"] for patch in kustomization.get("patches", []) if "path" in patch]
        for generator in kustomization.get("configMapGenerator", []):
            named += [folder / name for name in generator["files"]]
        assert [path for path in named if not path.exists()] == []
        here = {path for path in folder.rglob("*.yaml") if path.name != "kustomization.yaml"}
        assert here <= set(named)


def test_patches_have_something_to_patch() -> None:
    known = set(resources())
    for folder in (KEDA, EXAMPLE):
        for patch in document(folder / "kustomization.yaml")["patches"]:
            target = patch.get("target")
            if target is None:
                patched = document(folder / patch["path"])
                target = {"kind": patched["kind"], "name": patched["metadata"]["name"]}
            assert (target["kind"], target["name"]) in known


def test_kustomize_builds_the_example_and_kubernetes_takes_it() -> None:
    """With kubectl at hand; without it the parts were looked at one by one above."""
    if (kubectl := shutil.which("kubectl")) is None:
        return
    built = subprocess.run([kubectl, "kustomize", EXAMPLE], capture_output=True, text=True, check=True)
    whole = [resource for resource in yaml.safe_load_all(built.stdout) if resource]
    assert {resource["kind"] for resource in whole} >= {"StatefulSet", "Deployment", "Job", "NetworkPolicy"}
    for resource in whole:
        if resource["kind"] not in FOREIGN:
            check(resource, VERSIONS[-1])
        if resource["kind"] == "StatefulSet":
            assert "replicas" not in resource["spec"]
            (container,) = resource["spec"]["template"]["spec"]["containers"]
            assert container["image"] == "registry.example.org/anomalyd:0.1.0"
            assert container["resources"]["limits"]["memory"] == "8Gi"


def test_nothing_runs_as_root_or_with_rights() -> None:
    for _, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert pod["serviceAccountName"] == "anomalyd"
    assert resources()["ServiceAccount", "anomalyd"]["automountServiceAccountToken"] is False
    for container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }


def test_every_container_has_resources() -> None:
    for container in containers():
        assert set(container["resources"]["requests"]) == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]


def test_every_mount_has_its_volume() -> None:
    for _, pod in pods():
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod.get("initContainers", []) + pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} <= volumes


def test_compiled_kernels_have_a_place_to_be_written() -> None:
    for _, pod in pods():
        mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        assert mounts["cache"] == "/var/cache/anomalyd"
        (cache,) = (volume for volume in pod["volumes"] if volume["name"] == "cache")
        assert "emptyDir" in cache


def test_a_worker_keeps_its_name() -> None:
    """Static membership and the transactional id need it."""
    pod = resources()["StatefulSet", "anomalyd-detection"]["spec"]["template"]["spec"]
    environment = {entry["name"]: entry for entry in pod["containers"][0]["env"]}

    assert environment["ANOMALYD_WORKER__ID"]["valueFrom"]["fieldRef"] == {"fieldPath": "metadata.name"}


def test_probes_ask_what_they_are_for() -> None:
    for kind, pod in pods():
        if kind == "Job":
            continue
        container = pod["containers"][0]
        paths = {
            probe: container[f"{probe}Probe"]["httpGet"]["path"]
            for probe in ("startup", "liveness", "readiness")
        }
        assert paths == {"startup": "/-/healthy", "liveness": "/-/healthy", "readiness": "/-/ready"}


def test_a_pod_has_longer_to_stop_than_the_service_takes() -> None:
    drain = load(BASE / "config" / "service.yaml", environment={}).shutdown.drain
    for kind, pod in pods():
        if kind != "Job":
            assert pod["terminationGracePeriodSeconds"] >= drain + 15


def test_selectors_select_their_own_pods() -> None:
    found = resources()
    labels = {
        name: resource["spec"]["template"]["metadata"]["labels"]
        for (kind, name), resource in found.items()
        if kind in ("StatefulSet", "Deployment")
    }
    for name in ("anomalyd-detection", "anomalyd-alerting"):
        for kind in ("StatefulSet", "Deployment", "PodDisruptionBudget"):
            if resource := found.get((kind, name)):
                assert resource["spec"]["selector"]["matchLabels"].items() <= labels[name].items()
    service = found["Service", "anomalyd-detection"]["spec"]
    assert service["selector"].items() <= labels["anomalyd-detection"].items()
    assert service["clusterIP"] == "None"
    assert found["StatefulSet", "anomalyd-detection"]["spec"]["serviceName"] == "anomalyd-detection"
    for policy in ("anomalyd", "anomalyd-alerting"):
        assert found["NetworkPolicy", policy]["spec"]["podSelector"]["matchLabels"].items() <= (
            labels["anomalyd-alerting"].items()
        )


def test_only_metrics_come_in() -> None:
    policies = [resource["spec"] for (kind, _), resource in resources().items() if kind == "NetworkPolicy"]
    ports = [
        port["port"] for policy in policies for rule in policy.get("ingress", []) for port in rule["ports"]
    ]

    assert ports == [9464]
    assert {"Ingress", "Egress"} == {kind for policy in policies for kind in policy["policyTypes"]}


def test_detection_alone_reaches_neither_the_web_nor_a_mail_server() -> None:
    rules = resources()["NetworkPolicy", "anomalyd"]["spec"]["egress"]

    assert {port["port"] for rule in rules for port in rule["ports"]} == {53, 9092}


def test_keda_scales_the_right_thing_up_to_the_partitions() -> None:
    settings = load(BASE / "config" / "service.yaml", environment={})
    scaled = resources()["ScaledObject", "anomalyd-detection"]["spec"]
    (trigger,) = scaled["triggers"]

    assert ("StatefulSet", scaled["scaleTargetRef"]["name"]) in resources()
    assert scaled["maxReplicaCount"] == settings.topics.partitions
    assert trigger["type"] == "kafka"
    assert trigger["metadata"]["consumerGroup"] == settings.kafka.group_id
    assert trigger["metadata"]["topic"] == TopicsConfig().name("data_points")
    assert trigger["metadata"]["bootstrapServers"] == settings.kafka.bootstrap_servers
    assert all(isinstance(value, str) for value in trigger["metadata"].values())


def test_the_pod_monitor_finds_pods_and_port() -> None:
    spec = resources()["PodMonitor", "anomalyd"]["spec"]
    wanted = spec["selector"]["matchExpressions"][0]["values"]
    by_component = {
        resource["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"]: resource
        for (kind, _), resource in resources().items()
        if kind in ("StatefulSet", "Deployment")
    }

    assert set(wanted) == set(by_component)
    for endpoint in spec["podMetricsEndpoints"]:
        for resource in by_component.values():
            ports = {port["name"] for port in resource["spec"]["template"]["spec"]["containers"][0]["ports"]}
            assert endpoint["port"] in ports


def test_the_operators_rules_are_those_of_prometheus() -> None:
    rule = resources()["PrometheusRule", "anomalyd"]

    assert rule["spec"] == document(DEPLOY / "prometheus" / "rules.yml")
