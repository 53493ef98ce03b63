"""``croissant.json``: Croissant 1.1 with RAI 1.0, plain JSON made of ``export.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lensflow.export.formats import words
from lensflow.export.formats.columns import COLUMNS

CROISSANT = "croissant.json"
CONFORMS_TO = ("http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0")
PARQUET = "application/x-parquet"  # mlcroissant loads no other name
_ENCODING = {
    ".parquet": PARQUET,
    ".tar": "application/x-tar",
    ".json": "application/json",
    ".npy": "application/octet-stream",
    ".csv": "text/csv",
}
_OF_SPLIT = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}
_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
    "equivalentProperty": "cr:equivalentProperty",
}


def croissant_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Describe an export.

    Parameters
    ----------
    record : mapping
        Content of ``export.json``.

    Returns
    -------
    dict
        JSON-LD.
    """
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": record["run"]["name"],
        "description": " ".join(
            [words.verdict_sentence(record), words.check_sentence(record), words.simulated(record)]
        ),
        "conformsTo": list(CONFORMS_TO),
        "license": record["survey"]["license_url"],
        "url": record["survey"]["url"],
        "citeAs": record["survey"]["citation"],
        "creator": {"@type": "sc:Organization", "name": record["survey"]["creator"]},
        "version": record["version"],
        "dateCreated": record["made"],
        "datePublished": record["made"],
        "keywords": ["astronomy", "strong gravitational lensing", "simulation"],
        **_responsible(record),
        **_provenance(record),
        "distribution": [*_files(record), *_file_sets(record)],
        "recordSet": _record_sets(record),
    }


def _responsible(record: Mapping[str, Any]) -> dict[str, Any]:
    settings = record["settings"]
    return {
        "rai:dataCollection": f"Cutouts of {record['survey']['source']}.",
        "rai:dataManipulationProtocol": words.simulated(record) + " " + words.quantisation(record),
        "rai:dataPreprocessingProtocol": [f"Normalisation: {words.normalisation_sentence(record)}."],
        "rai:dataAnnotationProtocol": "Labels are known by construction: 1 where an arc was added, 0 where not. "
        f"Positives of train have snr_matched >= {settings['min_snr']:g}; fainter ones: {settings['faint']}.",
        "rai:dataBiases": [
            words.verdict_sentence(record), *words.gate_lines(record), words.realism_sentence(record),
            words.check_sentence(record),
        ],
        "rai:dataLimitations": words.must_not(record),
        "rai:dataUseCases": f"Training and validation of lens finders, purpose {settings['purpose']}.",
        "rai:personalSensitiveInformation": "none",
        "rai:dataReleaseMaintenancePlan": "Versions MAJOR.MINOR.PATCH: MAJOR when a row moves between splits or a "
        "label changes, MINOR for added rows, PATCH for text.",
    }  # fmt: skip


def _provenance(record: Mapping[str, Any]) -> dict[str, Any]:
    run = record["run"]
    return {
        "prov:wasDerivedFrom": [
            {"@type": "prov:Entity", "prov:label": record["survey"]["source"]},
            {"@type": "prov:Entity", "prov:label": f"host table {record['survey']['hosts']}"},
        ],
        "prov:wasGeneratedBy": {
            "@type": "prov:Activity",
            "prov:label": f"lensflow run {run['name']}: config digest {run['config_digest']}, "
            f"lensflow {run['version']}, pixel code {run['code']}, seed {run['seed']}",
        },
    }


def _files(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    out = []
    for file in record["files"]:
        ending = "." + file["path"].rpartition(".")[2]
        out.append(
            {
                "@type": "cr:FileObject",
                "@id": file["path"],
                "name": file["path"],
                "contentUrl": file["path"],
                "contentSize": f"{file['bytes']} B",
                "encodingFormat": _ENCODING.get(ending, "application/octet-stream"),
                "sha256": file["sha256"],
            }
        )
    return out


def _file_sets(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    if record["format"] != "parquet":
        return []
    return [{"@type": "cr:FileSet", "@id": "samples-files", "encodingFormat": PARQUET, "includes": "data/*.parquet"}]


def _record_sets(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    by_format: dict[str, dict[str, Any]] = {
        "parquet": {"fileSet": {"@id": "samples-files"}},
        "npy": {"fileObject": {"@id": "index.parquet"}},
        "zarr": {"fileObject": {"@id": "index.parquet"}},
    }
    splits = {
        "@type": "cr:RecordSet",
        "@id": "splits",
        "dataType": "cr:Split",
        "key": {"@id": "splits/name"},
        "field": [
            {"@type": "cr:Field", "@id": "splits/name", "dataType": "sc:Text"},
            {"@type": "cr:Field", "@id": "splits/url", "dataType": "sc:URL"},
        ],
        "data": [{"splits/name": name, "splits/url": _OF_SPLIT[name]} for name in record["splits"]],
    }
    if record["format"] not in by_format:
        return [splits]
    source = by_format[record["format"]]
    fields: list[dict[str, Any]] = [
        {"@type": "cr:Field", "@id": f"samples/{c.name}", "description": c.meaning, "dataType": c.croissant,
         "source": {**source, "extract": {"column": c.name}}}
        for c in COLUMNS
        if c.name in record["columns"]
    ]  # fmt: skip
    if record["format"] == "parquet":
        fields.append(
            {"@type": "cr:Field", "@id": "samples/x", "description": "image, C order", "dataType": "cr:Float32",
             "isArray": True, "arrayShape": ",".join(map(str, record["shape"])),
             "source": {**source, "extract": {"column": "x"}}}
        )  # fmt: skip
        of_split: dict[str, Any] = {
            "extract": {"fileProperty": "filename"},
            "transform": {"regex": f"^({'|'.join(record['splits'])})(?:-.*)?$"},
        }
    else:
        of_split = {"extract": {"column": "split"}}
    fields.append(
        {"@type": "cr:Field", "@id": "samples/split", "description": "split", "dataType": "sc:Text",
         "references": {"field": {"@id": "splits/name"}}, "source": {**source, **of_split}}
    )  # fmt: skip
    samples = {"@type": "cr:RecordSet", "@id": "samples", "key": {"@id": "samples/sample_id"}, "field": fields}
    return [splits, samples]
