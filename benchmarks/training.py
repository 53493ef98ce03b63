"""The reference training on a GPU: rates of loader and network, CPU against GPU, and the spread over seeds.

    python benchmarks/training.py [BRICKS [EPOCHS [SEEDS]]]

Makes the demo's run with BRICKS bricks of the synthetic survey (default 64: 20,000 pairs of train), trains ResNet-18
for EPOCHS (50) with SEEDS seeds (3), and prints what each reached: rows a second, the GPU's share of busy time, AUROC,
loss without the core, completeness at false-positive rates of 0.01 and 0.1. Without a GPU it says so and uses the tiny
network, which says nothing of ResNet-18.
"""

from __future__ import annotations

import sys
import tempfile
import threading
import time
from importlib import resources
from typing import Any

import numpy as np
import torch

import lensflow as lf
from lensflow.config import LoaderConfig, RunConfig
from lensflow.errors import LensflowError
from lensflow.export.loader.batches import Batches
from lensflow.export.view import TrainingView
from lensflow.run import certify_step
from lensflow.run.export.open_view import RunViews
from lensflow.training import files
from lensflow.training.ahead import ahead, on_device
from lensflow.training.kept_units import kept
from lensflow.training.loop import scores_of
from lensflow.training.models import build
from lensflow.training.step import train_step

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
MODEL = "resnet18" if DEVICE == "cuda" else "tiny"
# Of the demo's gates core_all is EXPLAINED: arcs as small as the PSF are in the core.
ALLOWED = ["EXPLAINED", "INCONCLUSIVE", "NOT_TESTABLE", "FAIL"]


def run_of(out: str, bricks: int, epochs: int) -> RunConfig:
    """Make the run, with a certificate."""
    with resources.as_file(resources.files("lensflow") / "configs" / "demo.yaml") as demo:
        tree = lf.load_config(demo, out=out).effective()
    tree["survey"]["synthetic"] |= {"n_bricks": bricks, "bricks_without_g": 0}
    tree["store"] |= {"samples_per_region": 1024, "hosts_per_region": 512}
    tree |= {"gate": {"required": False}, "completeness": {}, "export": {"allow_verdicts": ALLOWED}}
    tree["training"] = {"model": MODEL, "epochs": epochs, "pretrained": False}
    config = lf.load_config(tree)
    with lf.connect(config.cluster):
        lf.make_run(config)
        certify_step(config)
    return config


class Busy:
    """Share of time in which the GPU ran a kernel, in per cent; NaN where the driver does not say."""

    def __enter__(self) -> Busy:
        self.values: list[float] = []
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._look)
        self.thread.start()
        return self

    def _look(self) -> None:
        while DEVICE == "cuda" and not self.done.wait(0.25):
            try:
                self.values.append(float(torch.cuda.utilization()))
            except (ImportError, RuntimeError):
                return

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()

    @property
    def mean(self) -> float:
        """Over the body."""
        return float(np.mean(self.values)) if self.values else float("nan")


def rates(view: TrainingView, config: RunConfig) -> None:
    """Print rows a second: the loader from files, from memory, onto the device; and training steps alone."""
    in_memory = kept(view, 1e6)

    def epoch(of: TrainingView) -> int:
        return sum(len(b["y"]) for b in Batches(of, LoaderConfig(), 1, epochs=2))

    def fed() -> int:
        every = Batches(in_memory, LoaderConfig(), 1, epochs=2)
        n = sum(len(b["y"]) for b, _ in ahead(every, lambda b: on_device(b["x"], DEVICE, DEVICE == "cuda")))
        if DEVICE == "cuda":
            torch.cuda.synchronize()
        return n

    for name, work in (("from zarr", lambda: epoch(view)), ("from memory", lambda: epoch(in_memory)), ("fed", fed)):
        work()
        begun = time.perf_counter()
        print(f"loader, {name:24s} {work() / (time.perf_counter() - begun):9,.0f} rows/s")
    x = torch.randn(256, *view.shape, device=DEVICE)
    y = (torch.arange(256, device=DEVICE) % 2).float()
    for stem in ("imagenet", "small"):
        for precision in ("float32", "bfloat16"):
            net: Any = build(config.training.model_copy(update={"stem": stem}), view.shape[0], lambda _: None)
            net = net.to(DEVICE, memory_format=torch.channels_last)
            optimiser = torch.optim.AdamW(net.parameters(), 1e-3)
            for k in range(30):
                if k == 10:
                    begun = time.perf_counter()
                with torch.autocast(DEVICE, torch.bfloat16, enabled=precision == "bfloat16"):
                    loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x), y)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                loss.item()
            print(f"{MODEL}, {stem}, {precision:16s} {20 * 256 / (time.perf_counter() - begun):9,.0f} rows/s")


def one(config: RunConfig, seed: int) -> None:
    """Train with a seed, and print what it came to."""
    config = config.model_copy(update={"training": config.training.model_copy(update={"seed": seed})})
    begun = time.perf_counter()
    with Busy() as busy:
        found = train_step(config)
    n = found.numbers
    print(f"seed {seed}: {time.perf_counter() - begun:.0f} s, {n['rows_per_s']:,.0f} rows/s in the epochs")
    print(f"  GPU busy {busy.mean:.0f} % of all; the scorer on CPUs differs by {n['scorer_differs_by']:.1e}")
    for gate in found.gates:
        print(f"  {gate.name:18s} {gate.verdict}: {gate.reason}")
    for rate in (1e-2, 1e-1):
        try:
            print(f"  {lf.completeness(config, files.scores_url(config), fpr=rate)!r}")
        except LensflowError as error:
            print(f"  completeness at {rate:g}: {error}")


def main() -> None:
    bricks, epochs, seeds = ((*map(int, sys.argv[1:]), *(64, 50, 3)[len(sys.argv) - 1 :]))[:3]
    card = torch.cuda.get_device_name(0) if DEVICE == "cuda" else "no GPU: the tiny network on CPUs"
    with tempfile.TemporaryDirectory() as out:
        config = run_of(f"{out}/run", bricks, epochs)
        views = RunViews(config, config)
        train = views.open("train")
        print(f"{card}; {train.counts.text()}; {train.samples.sizes['sample']:,} samples in {train.n_units} units")
        rates(train, config)
        x = views.open("val", "pairs").unit(0).x[:512]
        net = build(config.training, train.shape[0], lambda _: None).eval()
        on_cpu = scores_of(net, x)
        apart = np.abs(on_cpu - scores_of(net.to(DEVICE), x, DEVICE)).max()
        print(f"scores, CPU against {DEVICE}: at most {apart:.1e} of a scatter of {on_cpu.std():.2g}")
        for seed in range(seeds):
            one(config, seed)


if __name__ == "__main__":
    main()
