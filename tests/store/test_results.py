"""Files of results: what was edited after it was written is not read."""

import json
from pathlib import Path

import pytest

from lensflow.errors import StoreError
from lensflow.store.results import current_results, digest_of, keep_results, read_results

RESULTS = {"gates": [{"verdict": "FAIL", "auc": 0.1 + 0.2, "pair": (1, 2)}], 3: None, "text": "é"}


@pytest.fixture
def kept(tmp_path):
    keep_results(str(tmp_path / "found.json"), "key", RESULTS)
    return tmp_path / "found.json"


def edit(place: Path, **changes):
    place.write_text(json.dumps({**json.loads(place.read_text()), **changes}))


def test_what_was_kept_is_read_as_it_was(kept):
    found = read_results(str(kept))
    assert found.has_digest and found.results == json.loads(json.dumps(RESULTS))
    assert current_results(str(kept), "key") == found.results


def test_layout_and_order_of_keys_are_no_edit(kept):
    content = json.loads(kept.read_text())
    kept.write_text(json.dumps(dict(reversed(content.items())), indent=4))
    assert read_results(str(kept)).results == content["results"]


@pytest.mark.parametrize("changes", [
    {"results": {**RESULTS, "gates": [{"verdict": "PASS", "auc": 0.1 + 0.2, "pair": [1, 2]}]}},
    {"results": {**RESULTS, "gates": [{"verdict": "FAIL", "auc": 0.3, "pair": [1, 2]}]}},
    {"key": "other"}, {"code": "0123456789abcdef"}, {"digest": "0" * 64}, {"more": 1},
])  # fmt: skip
def test_an_edit_is_an_error_with_a_way_out(kept, changes):
    edit(kept, **changes)
    for read in (lambda: read_results(str(kept), "do it again"), lambda: current_results(str(kept), "key")):
        with pytest.raises(StoreError, match=r"found\.json: was edited or damaged .* Delete it and"):
            read()


def test_a_file_without_a_digest_says_so(kept):
    content = json.loads(kept.read_text())
    digest = content.pop("digest")
    assert digest == digest_of(content)
    kept.write_text(json.dumps(content))
    assert not read_results(str(kept)).has_digest
