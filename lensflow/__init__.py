"""lensflow: gravitational-lens arcs in real survey cutouts, and proof that nothing but the arc gives them away.

>>> import lensflow as lf
>>> config = lf.load_config("run.yaml")
>>> cutouts = lf.cut(config)
>>> manifest = lf.plan_injections(cutouts, config)
>>> pairs = lf.write_pairs(lf.inject(cutouts, manifest, config), config)
>>> lf.gate(pairs, config)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lensflow._version import __version__

if TYPE_CHECKING:
    from lensflow.api import (
        SourceBank,
        batches,
        brightness_figure,
        brightness_table,
        check_export,
        compare_real,
        compare_runs,
        completeness,
        connect,
        core_figure,
        core_settings,
        core_table,
        crop,
        cross_table,
        cross_test,
        cut,
        dashboard_link,
        diagnose,
        export,
        findings,
        gate,
        gate_by_magnitude,
        handle_core,
        import_stamps,
        inject,
        injection_set,
        lens_catalogue,
        load_config,
        make_run,
        mask_batch,
        materialise,
        measure_core,
        open_cutouts,
        open_manifest,
        open_pairs,
        open_run,
        open_selection,
        paired,
        plan,
        plan_injections,
        progress_link,
        psf_audit,
        read_lenses,
        read_lenspop,
        rerender,
        reweight,
        rgb,
        score_pairs,
        sweep,
        tagged,
        target_density,
        target_population,
        torch_dataset,
        train,
        training_view,
        tune_core,
        verify,
        warm_up,
        write_pairs,
        write_report,
        zoo,
    )

__all__ = [
    "SourceBank",
    "__version__",
    "batches",
    "brightness_figure",
    "brightness_table",
    "check_export",
    "compare_real",
    "compare_runs",
    "completeness",
    "connect",
    "core_figure",
    "core_settings",
    "core_table",
    "crop",
    "cross_table",
    "cross_test",
    "cut",
    "dashboard_link",
    "diagnose",
    "export",
    "findings",
    "gate",
    "gate_by_magnitude",
    "handle_core",
    "import_stamps",
    "inject",
    "injection_set",
    "lens_catalogue",
    "load_config",
    "make_run",
    "mask_batch",
    "materialise",
    "measure_core",
    "open_cutouts",
    "open_manifest",
    "open_pairs",
    "open_run",
    "open_selection",
    "paired",
    "plan",
    "plan_injections",
    "progress_link",
    "psf_audit",
    "read_lenses",
    "read_lenspop",
    "rerender",
    "reweight",
    "rgb",
    "score_pairs",
    "sweep",
    "tagged",
    "target_density",
    "target_population",
    "torch_dataset",
    "train",
    "training_view",
    "tune_core",
    "verify",
    "warm_up",
    "write_pairs",
    "write_report",
    "zoo",
]


def __getattr__(name: str) -> Any:
    # On first use: the physics can then be imported without Dask, and --help answers at once.
    if name in __all__:
        return getattr(import_module("lensflow.api"), name)
    raise AttributeError(f"module 'lensflow' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
