"""A pilot on a share of the hosts, its gates, a core handling if they do not pass, then the full run and its gates.

    python workflows/pilot.py --config workflows/configs/dr10_train.yaml --share 0.0025

Stops with code 3 if the gates do not pass and no handling of the core makes them pass on held-out hosts. Finished parts
are kept: the same command continues. The pilot is beside the full run, in OUT-pilot; look at its report before you
continue.
"""

from __future__ import annotations

from typing import Annotated, Any

import typer
from options import Address, Cluster, Config, Out, command, session

import lensflow as lf

GATE_FAILED = 3
Share = Annotated[float, typer.Option(help="share of the hosts that the pilot uses")]


def variant(
    config: Any, suffix: str = "", share: float = 1.0, required: bool = True, settings: dict[str, Any] | None = None
) -> Any:
    """Return the config of the pilot: another folder, a fraction of the hosts, other settings."""
    tree = config.effective()
    for section, values in (settings or {}).items():
        tree[section] |= values
    tree["name"] += suffix.replace("-", " ")
    tree["survey"]["fraction"] *= share
    tree["gate"]["required"] = required
    return lf.load_config(tree, out=config.out.rstrip("/") + suffix)


def passes(config: Any) -> bool:
    """Run every step of a config, print the gates, and return whether every required one passed."""
    results = lf.make_run(config)
    print(f"\n{config.name} in {config.out}, report: {results.report}")
    required = [gate for gate in results.gates if gate.name in config.must_pass]
    for gate in results.gates:
        print(f"  {gate.name} ({'required' if gate in required else 'advisory'}): {gate.verdict}. {gate.reason}")
    return all(gate.passes(config.gate.accept_explained) for gate in required)


def recommended_handling(pilot: Any) -> str:
    """Name of the core handling that the tuner recommends for a finished pilot; "" if it recommends nothing."""
    tuning = lf.tune_core(pilot)
    print(f"\nCore handling: {tuning.recommended or 'none'}. {tuning.reason}")
    return str(tuning.recommended)


def passes_under(config: Any, handling: str) -> bool:
    """Whether every core gate of a finished run passes with the core handled as the tuner recommends."""
    tree = config.effective()
    tree["core"]["handlings"] = [handling]
    (result,) = lf.measure_core(lf.open_pairs(f"{config.out}/pairs.zarr"), lf.load_config(tree))
    for gate in result.gates:
        print(f"  {gate.name} under {handling}: {gate.verdict}. {gate.reason}")
    return bool(result.passes(config.gate.accept_explained))


def pilot_and_full(config: Any, share: float) -> int:
    """Pilot, gates, core handling, full run, gates; the exit code."""
    pilot, handling = variant(config, "-pilot", share), ""
    if not passes(pilot):
        if config.injection.core_mask_radius_pix > 0:
            print("\nStopped: the gates do not pass on masked arcs; without a mask more can be measured.")
            return GATE_FAILED
        if not (handling := recommended_handling(pilot)):
            print("\nStopped: the pilot's gates do not pass, and nothing is recommended that would.")
            return GATE_FAILED
    settings = lf.core_settings(handling, config) if handling else {}
    if settings:
        print(f"\nThe full run is made with {settings}.")
    full = variant(config, required=settings is not None, settings=settings)
    ready = passes(full)
    if settings is None:
        # A handling at training time is not part of the pairs, so the gates are run on it here.
        ready = passes_under(full, handling)
    if not ready:
        print("\nThe full run is there, but its gates do not pass: do not train on it.")
        return GATE_FAILED
    print(f"\nReady{f': train on it as {handling} says' if settings is None else ''}.")
    return 0


@command(__doc__)
def main(config: Config, share: Share = 0.01, out: Out = None, cluster: Cluster = None, address: Address = None):
    """Load, connect, go."""
    with session(run := lf.load_config(config, out=out), cluster, address):
        code = pilot_and_full(run, share)
    raise typer.Exit(code)


if __name__ == "__main__":
    main()
