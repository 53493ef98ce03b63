"""Problems of a pod, from its status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WRONG_IMAGE = ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull")
_WRONG_SPEC = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")


@dataclass(frozen=True)
class Complaint:
    """Reason why a pod is not running.

    Attributes
    ----------
    text : str
        Pod, reason and what to do.
    fatal : bool
        Whether waiting is useless.
    """

    text: str
    fatal: bool


def complaint(pod: Mapping[str, Any]) -> Complaint | None:
    """Return the problem of a pod (as served by the API), or None if it runs or is starting."""
    name, status = pod["metadata"]["name"], pod.get("status", {})
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            text = (
                f"pod {name} is pending: {condition.get('message', condition.get('reason', 'no reason given'))}. "
                "No node has room for it, or none has its labels: look at the requests, node selectors and tolerations "
                "of the manifest, and at the node group's limits"
            )
            return Complaint(text, fatal=False)
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        said = _of_container(name, container)
        if said is not None:
            return said
    if status.get("phase") == "Failed":
        return Complaint(
            f"pod {name} failed: {status.get('reason', '')} {status.get('message', '')}".strip(), fatal=True
        )
    return None


def _of_container(pod: str, container: Mapping[str, Any]) -> Complaint | None:
    waiting = container.get("state", {}).get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason in _WRONG_IMAGE:
        return Complaint(
            f"pod {pod}: image {container.get('image')} cannot be pulled ({reason}: {message}). Is the tag right, is "
            "it pushed, and may the nodes read that registry?",
            fatal=True,
        )
    if reason in _WRONG_SPEC:
        return Complaint(
            f"pod {pod} cannot be started ({reason}: {message}). Does the secret lensflow-tls exist "
            "(deploy/make-tls.sh)?",
            fatal=True,
        )
    if reason == "CrashLoopBackOff":
        last = container.get("lastState", {}).get("terminated", {})
        why = f"{last.get('reason', 'error')}, exit code {last.get('exitCode', '?')}"
        more = " Raise the memory limit." if last.get("reason") == "OOMKilled" else ""
        return Complaint(
            f"pod {pod} starts and ends again ({why}). See: kubectl logs {pod} --previous.{more}", fatal=True
        )
    return None
