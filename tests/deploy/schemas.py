"""Offline, strict validation of Kubernetes manifests.

The operator's resources are checked against the CRD schemas that dask-kubernetes carries, everything else and every pod
in them against Kubernetes' own schemas (kubernetes-validate). Strict: a field that no schema knows is an error.
"""

from __future__ import annotations

import copy
from functools import cache
from importlib import resources
from typing import Any

import jsonschema
import kubernetes_validate
import yaml
from kubernetes_validate import utils

KUBERNETES = "1.34"
# Kubernetes' definitions are megabytes, and it reads them anew for every manifest.
utils.schema_contents = cache(utils.schema_contents)


def errors(manifest: dict[str, Any]) -> list[str]:
    """Everything that is wrong with one manifest; empty if nothing is."""
    kind = manifest["kind"]
    if manifest["apiVersion"] == "kubernetes.dask.org/v1":
        if kind not in _crds():
            return [f"kind: the operator knows no {kind}"]
        found = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in _crds()[kind].iter_errors(manifest)]
        for where, pod in pods(manifest):
            if "containers" in pod:
                body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "pod"}, "spec": pod}
                found += [f"{where}/{e}" for e in _plain(body)]
        return found
    return _plain(manifest)


def pods(manifest: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Every pod spec that a resource of the operator holds, with its path."""
    spec = manifest["spec"]
    if manifest["kind"] == "DaskJob":
        cluster = spec["cluster"]["spec"]
        return [("spec/job/spec", spec["job"]["spec"]), *((f"spec/cluster/{w}", p) for w, p in _of_cluster(cluster))]
    return _of_cluster(spec) if manifest["kind"] == "DaskCluster" else []


def _of_cluster(spec: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(f"spec/{role}/spec", spec[role]["spec"]) for role in ("scheduler", "worker") if role in spec]


def _plain(manifest: dict[str, Any]) -> list[str]:
    try:
        kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'/'.join(map(str, error.path))}: {error.message}"]
    return []


@cache
def _crds() -> dict[str, jsonschema.Draft7Validator]:
    root = resources.files("dask_kubernetes") / "operator/deployment/helm/dask-kubernetes-operator/crds"
    found = {}
    for file in root.iterdir():
        for document in yaml.load_all(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            if document and document["kind"] == "CustomResourceDefinition":
                kind = document["spec"]["names"]["kind"]
                schema = _strict(copy.deepcopy(document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]))
                schema["properties"] |= {"apiVersion": {}, "kind": {"const": kind}, "metadata": {"type": "object"}}
                found[kind] = jsonschema.Draft7Validator(schema)
    return found


def _strict(schema: Any) -> Any:
    """An OpenAPI schema as JSON schema in which an unknown field is an error: ``kubectl --validate=strict``."""
    if isinstance(schema, list):
        return [_strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    out = {key: _strict(value) for key, value in schema.items() if key != "format"}
    if out.get("nullable") and isinstance(out.get("type"), str):
        out["type"] = [out["type"], "null"]
    closed = out.get("type") == "object" and isinstance(out.get("properties"), dict)
    if closed and "additionalProperties" not in out and not out.get("x-kubernetes-preserve-unknown-fields"):
        out["additionalProperties"] = False
    return out
