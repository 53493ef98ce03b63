"""The commands before a run."""

import pytest

from lensflow.config import load_config
from lensflow.config.starters import STARTERS


def test_the_effective_config_is_printed_with_its_fingerprint(command, survey):
    code, text = command("config", config=survey)
    assert code == 0 and "stamp_size: 64" in text and "# fingerprint " in text


def test_only_what_is_not_a_default_is_printed_if_asked_for(command, survey):
    survey["seed"] = 7
    code, text = command("config", "--changed", config=survey)
    assert code == 0 and "seed: 7" in text and "stamp_size" not in text and "survey.targets: null" not in text


@pytest.mark.parametrize("name", STARTERS)
def test_a_config_to_begin_with_is_one_that_is_read(command, tmp_path, name):
    file = tmp_path / "new" / "my run.yaml"
    code, text = command("init", file, "--survey", name, "--root", "s3://bucket/a b", "--targets", "10 hosts#1.csv")
    assert code == 0 and "Next: lensflow doctor" in text
    config = load_config(file)
    assert (config.name, config.out) == ("my run", "runs/my run")
    assert config.plan.preset == ("legacy_surveys" if name == "legacysurvey" else "realistic")
    if name == "stamps":
        assert config.survey.stamps.files["g"] == "s3://bucket/a b/image-g.fits"
        assert config.survey.stamps.hosts == "10 hosts#1.csv"
    elif name != "synthetic":
        assert (config.survey.root, config.survey.targets) == ("s3://bucket/a b", "10 hosts#1.csv")
    assert command("init", tmp_path / "c.yaml", "--survey", name, "--root", "a: b #c", "--targets", "t: #1.csv")[0] == 0
    if name == "stamps":
        odd = load_config(tmp_path / "c.yaml").survey.stamps
        assert (odd.files["z"], odd.hosts) == ("a: b #c/image-z.fits", "t: #1.csv")
    assert all(line.startswith("#") for line in file.read_text().splitlines()[:2])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "--survey: say which of"),
        (("--survey", "legacysurvy"), "Did you mean 'legacysurvey'"),
        (("--survey", "stamps", "--root", "x"), "needs --targets"),
        (("--survey", "pattern", "--root", 'x"y', "--targets", "t.csv"), "quotes"),
        (("--survey", "synthetic", "--out", ""), None),
    ],
)
def test_what_cannot_be_begun_is_said_and_leaves_nothing(command, tmp_path, options, message):
    file = tmp_path / "run.yaml"
    code, text = command("init", file, *options)
    assert (code == 0) == (message is None) == file.exists()
    assert message is None or message in text


def test_a_config_is_never_replaced(command, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("mine")
    code, text = command("init", file, "--survey", "synthetic")
    assert code == 2 and "is there already" in text and file.read_text() == "mine"
    assert command("init", tmp_path / "run.txt", "--survey", "synthetic")[0] == 2
