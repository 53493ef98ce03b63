"""Ways to tamper with a certified run: each takes the run, and another one of the same name and settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lensflow.run.certificate import overall
from lensflow.run.certified import state_of
from lensflow.run.certify import gates_of
from lensflow.store import objects, receipts, sealing
from lensflow.store.read import _arrays
from lensflow.store.run_folder import RunFolder
from tests.reseal import reseal
from tests.run.certified_run import certificate_of, put_certificate

THIEF = Ed25519PrivateKey.generate()


def forget():
    _arrays.clear()
    objects._known.clear()
    receipts._forget()


def edit_json(name: str, change: Callable[[Any], Any]) -> Callable[..., None]:
    def do(run, other):
        place = Path(run.out, name)
        value = json.loads(place.read_text())
        place.write_text(json.dumps(change(value) or value, indent=1) + "\n")

    return do


def edit_certificate(change: Callable[[Any], Any], key: Any = None, sealed: bool = True) -> Callable[..., None]:
    def do(run, other):
        certificate = certificate_of(run)
        put_certificate(run, change(certificate) or certificate, key, sealed=sealed)

    return do


def remove(name: str) -> Callable[..., None]:
    return lambda run, other: next(Path(run.out).glob(name)).unlink()


def edit_receipt(**changes: Any) -> Callable[..., None]:
    """With its own checksum made to fit."""

    def do(run, other):
        folder = RunFolder.of(run).receipts("pairs")
        receipt = receipts.read_receipt(folder, 1)
        Path(receipts.receipt_url(folder, 1)).unlink()
        receipts.write_receipt(folder, replace(receipt, **changes))

    return do


def extra_receipt(run, other):
    folder = RunFolder.of(run).receipts("pairs")
    receipt = receipts.read_receipt(folder, 1)
    receipts.write_receipt(folder, replace(receipt, region=9, start=900, stop=910))


def edit_attribute(store: str, name: str, value: Any, array: str = "") -> Callable[..., None]:
    """With the record of the store's creation made to fit."""

    def do(run, other):
        url = RunFolder.of(run).store(store)
        group = zarr.open_group(url, mode="r+")
        (group[array] if array else group).attrs[name] = value
        reseal(url)
        if array:
            created = objects.read_created(url)
            text = Path(url, array, "zarr.json").read_text()
            objects.write_created(url, replace(created, metadata={**created.metadata, f"{array}/zarr.json": text}))

    return do


def edit_column(array: str, sealed: bool = True) -> Callable[..., None]:
    def do(run, other):
        url = RunFolder.of(run).cutouts
        column = zarr.open_group(url, mode="r+")[array]
        column[0] = column[1] if array in ("host_id", "ra_deg", "cell") else 1 - int(column[0] > 0)
        if sealed:
            reseal(url)

    return do


def edit_config(text: str, by: str) -> Callable[..., None]:
    def do(run, other):
        place = Path(run.out, "config.yaml")
        assert text in place.read_text()
        place.write_text(place.read_text().replace(text, by))

    return do


def backdated_opening(run, other):
    entry = {"who": "me", "when": "2026-01-01T00:00:00+00:00", "why": "no reason", "rows": 3}
    Path(run.out, sealing.FOLDER, "20260101T000000.0-00000000.json").write_text(json.dumps(entry))


def swap(*names: str) -> Callable[..., None]:
    def do(run, other):
        for name in names:
            place = Path(run.out, name)
            (shutil.rmtree if place.is_dir() else Path.unlink)(place)
            (shutil.copytree if Path(other.out, name).is_dir() else shutil.copy)(Path(other.out, name), place)

    return do


def replay_the_old_certificate(run, other):
    """The run is changed and certified again; then the old certificate is put back."""
    old = certificate_of(run)
    swap("pairs.zarr", "receipts", "summaries", "certificate.json")(run, other)
    put_certificate(run, old, sealed=False)


def certificate_of_the_other(run, other):
    put_certificate(run, certificate_of(other), sealed=False)


def signature_of_the_other(run, other):
    put_certificate(run, {**certificate_of(run), "signature": certificate_of(other)["signature"]}, sealed=False)


def flip_a_bit(run, other):
    shard = max(Path(run.out, "pairs.zarr", "stamp").rglob("0"), key=lambda p: p.stat().st_size)
    content = bytearray(shard.read_bytes())
    content[len(content) // 3] ^= 1
    shard.write_bytes(content)


def objects_too_many(run, other):
    shutil.copytree(Path(run.out, "pairs.zarr/stamp"), Path(run.out, "pairs.zarr/stamp2"))


def cut_short(run, other):
    shard = max(Path(run.out, "pairs.zarr", "stamp").rglob("0"), key=lambda p: p.stat().st_size)
    shard.write_bytes(shard.read_bytes()[:-1])


def pixels_and_all_checksums(run, other, key=None):
    """A leak in the pixels; receipts, digests and seal computed to fit; the old verdicts stay."""
    url = RunFolder.of(run).pairs
    stamps = zarr.open_group(url, mode="r+")["stamp"]
    shard = stamps[:32]
    shard[:, :, 30, 30] += np.float32(3.0)
    stamps[:32] = shard
    reseal(url)
    forget()
    restate(lambda c: None, key)(run, other)


def restate(change: Callable[[Any], Any], key: Any = None) -> Callable[..., None]:
    """All digests made to fit what is there, by whoever has lensflow and no scruples."""

    def do(run, other):
        certificate, state = certificate_of(run), state_of(run)
        change(certificate)
        verdict, reason = overall(gates_of(certificate), certificate["required"], certificate["accept_explained"])
        state["run"]["versions"] = certificate["run"]["versions"]
        put_certificate(run, {**certificate, **state, "verdict": str(verdict), "reason": reason}, key)

    return do


def every_gate_passes(value):
    gates = value["results"] if "results" in value else value["gates"]
    for g in gates:
        g["verdict"] = "PASS"


def two_words_everywhere(run, other):
    """What once made a PASS of a FAIL, in the cache and in a certificate to fit."""
    edit_json("summaries/gates.json", every_gate_passes)(run, other)
    restate(every_gate_passes)(run, other)


def diagnostics_and_digests(run, other):
    def change(value):
        text = json.dumps(value["results"])
        value["results"] = json.loads(text.replace("0.0", "0.1"))

    edit_json("summaries/diagnostics.json", change)(run, other)
    restate(lambda c: None)(run, other)


# Way to tamper -> who does it, and what the weakest check that notices it says.
QUICK = {
    "verdict words": (edit_certificate(lambda c: c.update(verdict="PASS"), sealed=False), "seal does not fit"),
    "verdict words, sealed": (edit_certificate(lambda c: c.update(verdict="PASS")), "from its own gates"),
    "gates of the certificate, sealed": (
        edit_certificate(lambda c: (every_gate_passes(c), c.update(verdict="PASS"))[1]),
        "not the certified ones",
    ),
    "the certificate's limits, sealed": (edit_certificate(lambda c: c.update(not_bound=[])), "own reach"),
    "the certificate's code, sealed": (
        edit_certificate(lambda c: c["run"]["code"].update(pixels="0" * 16)),
        "code, pixels",
    ),
    "fewer required gates, sealed": (
        edit_certificate(lambda c: c.update(required=["splits"], verdict="PASS", reason="splits passed")),
        "required: certified",
    ),
    "an older version": (edit_json("certificate.json", lambda c: c.update(lensflow_certificate=1)), "version 2"),
    "no certificate at all": (edit_json("certificate.json", lambda c: ["PASS"]), "version 2"),
    "a certificate of another run": (certificate_of_the_other, "receipts/pairs/region-000000.json"),
    "an older certificate, replayed": (replay_the_old_certificate, "receipts/pairs/region-000000.json"),
    "signature of another certificate": (signature_of_the_other, "edited after it was signed"),
    "signature cut off": (edit_json("certificate.json", lambda c: c.update(signature=None)), "taken away"),
    "verdicts in gates.json": (edit_json("summaries/gates.json", every_gate_passes), "gates.json: is not"),
    "code of gates.json": (edit_json("summaries/gates.json", lambda g: g.update(code="0" * 16)), "code, measured_by"),
    "diagnostics.json": (
        edit_json("summaries/diagnostics.json", lambda d: d.update(key="0")),
        "diagnostics.json: is not",
    ),
    "diagnostics.json deleted": (remove("summaries/diagnostics.json"), "diagnostics.json: is gone"),
    "gates.json deleted": (remove("summaries/gates.json"), "gates.json: is gone"),
    "counts of a receipt": (edit_receipt(counts={"OK": 10**6}), "region-000001.json: is not"),
    "messages of a receipt": (edit_receipt(messages=["all is well"]), "region-000001.json: is not"),
    "objects of a receipt": (edit_receipt(objects={}), "region-000001.json: is not"),
    "a receipt too many": (extra_receipt, "region-000009.json: did not exist when the run was certified"),
    "a receipt less": (remove("receipts/pairs/region-000001.json"), "region-000001.json: is gone"),
    "pixel scale of the cutouts": (edit_attribute("cutouts", "pixel_scale_arcsec", 0.5), "attribute pixel_scale"),
    "pixel scale of the pairs": (edit_attribute("pairs", "pixel_scale_arcsec", 0.5), "attribute pixel_scale"),
    "PSF model": (edit_attribute("manifest", "psf_model", "gaussian"), "manifest, attribute psf_model"),
    "seed": (edit_attribute("manifest", "seed", 999), "manifest, attribute seed"),
    "declared priors": (edit_attribute("manifest", "declared", {}), "manifest, attribute declared"),
    "order of the bands": (edit_attribute("cutouts", "bands", ["z", "r", "g"]), "cutouts, attribute bands"),
    "units of the pixels": (edit_attribute("pairs", "units", "Jy", array="stamp"), "pairs, array stamp"),
    "units of a column": (edit_attribute("cutouts", "units", "rad", array="ra_deg"), "cutouts, array ra_deg"),
    **{
        f"{array} of a host": (edit_column(array), f"cutouts, array {array}")
        for array in ("host_id", "ra_deg", "split", "cell")
    },
    "a column, without its checksum": (edit_column("split", sealed=False), "cutouts, array split"),
    "threshold": (edit_config("max_auc: 0.65", "max_auc: 0.99"), "gate.max_auc: certified 0.65"),
    "seed of the config": (edit_config("\nseed: ", "\nseed: 1"), "settings, seed"),
    "name": (edit_config("name: ", "name: not-"), "name: certified"),
    "required gates of the config": (edit_config("  - splits\n", ""), "gate.checks"),
    "what the config accepts": (edit_config("accept_explained: false", "accept_explained: true"), "accept_expl"),
    "an opening of the test split deleted": (remove("test-access/*.json"), "test-access/.*: is gone"),
    "an opening of the test split edited": (
        lambda r, o: next(Path(r.out, "test-access").iterdir()).write_text("{}"),
        "test-access/.*: is not",
    ),
    "an opening of the test split, backdated": (backdated_opening, "did not exist when the run was certified"),
    "swapped pairs": (swap("pairs.zarr"), "pairs"),
    "swapped pairs with their receipts": (swap("pairs.zarr", "receipts"), "receipts/pairs/region-000000"),
    "an array too many": (objects_too_many, "pairs, array stamp2: did not exist when the run was certified"),
    "an object cut short": (cut_short, "names or sizes"),
    "an object less": (remove("pairs.zarr/flags/c/1/0"), "names or sizes"),
}
READ = {
    "a bit of the pixels": (flip_a_bit, r"pairs, region \d: is not(.|\n)*stamp: .*other bytes"),
}
FULL = {
    "two words, everywhere": (two_words_everywhere, "gate core_r: certified PASS, computed again EXPLAINED"),
    "pixels with all their checksums": (pixels_and_all_checksums, "gate diagnostics: certified PASS"),
    "diagnostics with all digests": (diagnostics_and_digests, "other numbers when computed again"),
}
KEY = {
    "the signature stripped": (edit_certificate(lambda c: None), "is not signed"),
    "a date, sealed": (edit_certificate(lambda c: c.update(made="2999-02-01T00:00:00+00:00")), "is not signed"),
    "versions, signed by another": (
        edit_certificate(lambda c: c["run"]["versions"].update(lensflow="9"), THIEF),
        "signed by another key",
    ),
}
