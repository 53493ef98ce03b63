"""Sentences about an export that card and Croissant share, made of ``export.json`` alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MUST_NOT = (
    "Not a test of a search: AUC on these data is AUC on injections of this prior, and no completeness. Published "
    "networks trained on injections alone fell from AUC 0.99 to a few per cent recall on real lenses.",
    "Not for arcs below the SNR limit, or outside the ranges of the prior: nothing was learned there.",
    "Columns that a search does not have (truth, weights, ids, is_clean) are no features.",
)


def must_not(record: Mapping[str, Any]) -> list[str]:
    """What the data must not be used for."""
    if record["settings"]["purpose"] != "study":
        return list(MUST_NOT)
    trivial = ""
    if record["view"] == "residual":
        trivial = " TRIVIAL: what was subtracted tells the classes apart without any lens."
    study = f"Study only, not for a search: view {record['view']}, purpose {record['settings']['purpose']}.{trivial}"
    return [study, *MUST_NOT]


def left_out(record: Mapping[str, Any]) -> list[str]:
    """Injections that are no positives, and the weight of each kind of negative, one line a split."""
    out = []
    for name, s in record["splits"].items():
        why = ", ".join(f"{n:,} {reason}" for reason, n in s.get("left_out", {}).items()) or "none"
        shares = ", ".join(f"{k} {w:.1%}" for k, w in s.get("negative_weights", {}).items())
        out.append(
            f"{name}: injections that are no positives: {why}" + (f"; weight of negatives: {shares}" if shares else "")
        )
    return out


def realism_sentence(record: Mapping[str, Any]) -> str:
    """What the comparison with real lenses says, in one sentence."""
    found = record.get("realism")
    if not found:
        return "Nothing is said of real lenses."
    if found["verdict"] == "NOT_RUN":
        return f"Real lenses: {found['reason']}."
    reason = found["reason"].rstrip(".")
    return f"Against real lenses ({found['table']}): {found['verdict']}. {reason}. {found['limits']}"


def verdict_sentence(record: Mapping[str, Any]) -> str:
    """What the run's certificate says, in one sentence.

    Parameters
    ----------
    record : mapping
        Content of ``export.json``.

    Returns
    -------
    str
    """
    certificate = record["certificate"]
    said = f"The certificate of the run says {certificate['verdict']}: {certificate['reason'].rstrip('.')}."
    if certificate["verdict"] == "PASS":
        return said
    return f"{said} These data were exported although the run did not pass (export.allow_verdicts)."


def check_sentence(record: Mapping[str, Any]) -> str:
    """What the check of the export says."""
    verdicts = record.get("check")
    if not verdicts:
        return "The export itself was not checked (`lensflow check-export`)."
    listed = ", ".join(f"{name} {verdict}" for name, verdict in verdicts.items())
    return f"The check of the export says: {listed}."


def gate_lines(record: Mapping[str, Any]) -> list[str]:
    """Every gate of the certificate with number and interval."""
    out = []
    for gate in record["certificate"]["gates"]:
        number = f"{gate['name']} {gate['verdict']}"
        if gate.get("auc") is not None:
            ends = [gate.get("auc_low"), gate.get("auc_high")]
            number += f", AUC {gate['auc']:.3f}"
            if None not in ends:
                number += f" (95 % interval {ends[0]:.3f} to {ends[1]:.3f})"
        out.append(number)
    return out


def numbers(record: Mapping[str, Any]) -> list[str]:
    """Honest numbers, one line a split."""
    return [
        f"{name}: {s['positives']:,} positives and {s['negatives']:,} negatives on {s['hosts']:,} hosts: "
        f"{s['different_negatives']:,} different negatives"
        for name, s in record["splits"].items()
    ]


def normalisation_sentence(record: Mapping[str, Any]) -> str:
    """Normalisation with its constants and the pixels that they come from."""
    n = record["normalisation"]
    said = f"{n['kind']}, {n['formula']}"
    if n["kind"] in ("survey", "dataset"):
        constants = ", ".join(
            f"{b}: a = {a:.6g}, s = {s:.6g} nMgy" for b, a, s in zip(n["bands"], n["a_nmgy"], n["s_nmgy"], strict=True)
        )
        pixels = ", ".join(f"{p:,}" for p in n["n_pixels"])
        said += f"; {constants}; from train controls alone, {pixels} pixels"
    elif n["kind"] == "annulus":
        inner, outer = n["annulus_pix"]
        said += f"; median and 1.4826 MAD of each image at {inner:g} <= r < {outer:g} pixels; clip {n['clip']:g}"
    if record["pixels"] != "normalised":
        said = f"none applied: pixels are in {record['pixels']}. For a network: {said}"
    return said


def simulated(record: Mapping[str, Any]) -> str:
    """What is simulated, and what is real."""
    return (
        "The arcs are simulated: light of drawn sources, lensed by drawn deflectors, blurred by the PSF of the image "
        "and added to cutouts, with its shot noise where the run asks for it. The cutouts are "
        f"{record['survey']['source']}. "
        "A control is the same cutout without an arc. The label is known by construction; nobody looked at an image."
    )


def quantisation(record: Mapping[str, Any]) -> str:
    """How pixels were rounded."""
    step = record["settings"].get("quantize", "none")
    if step == "none":
        return "Pixels were not rounded by the export."
    return f"Stamps and controls were rounded alike, without bias, in steps of {step}, before normalisation."
