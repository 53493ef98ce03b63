"""The commands before a run."""


def test_the_effective_config_is_printed_with_its_fingerprint(command, survey):
    code, text = command("config", config=survey)
    assert code == 0 and "stamp_size: 64" in text and "# fingerprint " in text
