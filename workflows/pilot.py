"""A pilot on a share of the hosts, its gates, a tuned core if they do not pass, gates again, then the full run.

    python workflows/pilot.py --config workflows/configs/dr10_train.yaml --share 0.0025

Stops with code 3 where the gates do not pass. Every part keeps what it finished: the same command goes on where it was.
The pilots lie beside the full run, in OUT-pilot and OUT-pilot-tuned; look at their reports before you go on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import lensflow as lf

GATE_FAILED = 3


def variant(config: Any, suffix: str, share: float = 1.0, injection: dict[str, Any] | None = None) -> Any:
    """The same config beside the original, on a share of its hosts, with other settings of the injection."""
    tree = config.effective()
    tree["name"] += suffix.replace("-", " ")
    tree["survey"]["fraction"] *= share
    tree["injection"] |= injection or {}
    tree["gate"]["required"] = True
    return lf.load_config(tree, out=config.out.rstrip("/") + suffix)


def passes(config: Any) -> bool:
    """Run everything that a config asks for, print the gates, and say whether every required one passed."""
    results = lf.run(config)
    print(f"\n{config.name} in {config.out}, report: {results.report}")
    for gate in results.gates:
        needed = "required" if gate.name in config.gate.recipes else "advisory"
        numbers = f"AUC {gate.auc:.3f} [{gate.auc_low:.3f}, {gate.auc_high:.3f}] < {gate.threshold:g}"
        print(f"  {gate.name} ({needed}): {gate.verdict}, {numbers}. {gate.reason}")
    return all(gate.verdict == "PASS" for gate in results.gates if gate.name in config.gate.recipes)


def tuned_injection(pilot: Any) -> dict[str, Any] | None:
    """Settings of the injection that the tuner recommends for a finished pilot; None if it recommends nothing."""
    tune = getattr(lf, "tune_core", None)
    if tune is None:
        print("This lensflow has no core tuner (lf.tune_core): change the injection settings yourself and start again.")
        return None
    recommended: dict[str, Any] | None = tune(pilot)
    return recommended


def main(arguments: Sequence[str] | None = None) -> int:
    """Pilot, gates, tuned pilot, gates, full run, gates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="YAML file of the full run")
    parser.add_argument("--out", help="folder of the full run; replaces the config's out")
    parser.add_argument("--share", type=float, default=0.01, help="share of the hosts that the pilot uses")
    parser.add_argument("--cluster", help="local, threads, address, kubernetes or yarn; replaces cluster.kind")
    parser.add_argument("--address", help="tls://host:port of a running scheduler, with --cluster address")
    given = parser.parse_args(arguments)
    config = lf.load_config(given.config, out=given.out)

    with lf.connect(config.cluster.switched(kind=given.cluster, address=given.address)) as client:
        print(f"Dask dashboard: {client.dashboard_link}")
        pilot, injection = variant(config, "-pilot", given.share), None
        if not passes(pilot):
            injection = tuned_injection(pilot)
            if injection is None:
                print("\nStopped: the pilot's gates do not pass, and nothing is recommended that would.")
                return GATE_FAILED
            print(f"\nThe tuner recommends {injection}")
            if not passes(variant(config, "-pilot-tuned", given.share, injection)):
                print("\nStopped: the gates do not pass with the tuned injection either.")
                return GATE_FAILED
        if not passes(variant(config, "", injection=injection)):
            print("\nThe full run is there, but its gates do not pass: do not train on it.")
            return GATE_FAILED
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
